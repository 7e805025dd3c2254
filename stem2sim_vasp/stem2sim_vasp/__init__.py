"""VASP (plane waves, projector-augmented waves) as an engine of stem2sim."""
