"""The geometry of ASE atoms: pairs, bonds, rings, angles, columns, holes, defects, maps and superpositions."""
