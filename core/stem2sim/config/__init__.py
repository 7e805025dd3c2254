"""The config file: reading, options and defaults, JSON schema, explanations, commented templates."""
