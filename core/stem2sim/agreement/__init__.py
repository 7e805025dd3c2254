"""A structure compared with its image: rendered as the microscope would record it, each atom judged."""
