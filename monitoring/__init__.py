"""The model that serves, watched: what it receives, what it decides, and what became of its decisions."""
