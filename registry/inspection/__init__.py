"""Whether a file may become a model version: opened and scored in a child process."""
