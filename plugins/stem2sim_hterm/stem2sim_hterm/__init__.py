"""From measured atoms to a structure worth simulating: place, patch and H-terminate."""
