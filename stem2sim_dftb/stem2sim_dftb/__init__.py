"""DFTB+ (density functional tight binding) as an engine of stem2sim."""
