"""What a microscope records: readers, stacks, lattice and pixel size, the forward model, peaks, drift."""
