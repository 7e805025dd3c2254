"""Where atoms are to each other: pairs, bonds, rings, columns, holes, defects; no noun of ours, only atoms of ASE."""
