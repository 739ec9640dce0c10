"""The first page: every product at a glance, and what is wrong."""
