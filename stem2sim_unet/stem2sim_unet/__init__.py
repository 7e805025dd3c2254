"""U-Net ensemble that finds atoms in STEM images, with shipped weights."""
