"""What simulations say: validation, events, time series with error bars, distributions, displacements, comparisons."""
