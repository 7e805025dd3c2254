"""Analysis of structures and results: validation, events, time series, averages, distributions, comparisons."""
