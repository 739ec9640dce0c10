"""The errors of this package."""


class CanaryError(Exception):
    """Base of this package's errors."""
