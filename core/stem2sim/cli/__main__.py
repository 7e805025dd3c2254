"""`python -m stem2sim.cli`: the command line without its script."""

from stem2sim.cli.main import main

main()
