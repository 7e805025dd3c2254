"""Run folders: what a run and its steps are, the pipeline that writes them, costs, checks of the machine, movies."""
