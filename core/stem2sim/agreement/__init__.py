"""A structure compared with its image: simulated as the microscope would record it, each atom judged."""
