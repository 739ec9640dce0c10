"""Which models are loaded in this process, and how that changes."""
