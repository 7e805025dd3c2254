"""Classical potentials through LAMMPS: relaxation and dynamics of whole frames."""
