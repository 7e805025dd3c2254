"""The stages that ship with the core, offered through the same hooks as those of any plugin."""
