"""Quantitative images by multislice: what a detector would record of a simulated structure."""
