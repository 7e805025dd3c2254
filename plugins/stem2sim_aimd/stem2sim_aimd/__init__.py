"""Constant-temperature dynamics with the forces of any stem2sim engine."""
