"""The command line, and nothing but."""
