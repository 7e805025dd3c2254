"""The report: one page, readable without a network, of what was found, built and simulated; the same in Markdown."""
