"""Which model versions exist, what each takes and answers, and what each may do."""


class RegistryError(Exception):
    """Base of what the registry refuses; the message says what to do and may be shown to a caller."""
