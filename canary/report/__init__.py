"""The case for or against a promotion."""
