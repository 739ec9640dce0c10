"""Which model versions exist, what each takes and answers, and what each may do."""


class RegistryError(Exception):
    """Base of the registry's errors; the message says what to do and may be shown to a caller."""


def printable(text: str) -> str:
    """Return text that quotes a model file, made safe for a terminal, a log and a database row."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:500])
