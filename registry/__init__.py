"""Which model versions exist, what each takes and answers, and what each may do."""


class RegistryError(Exception):
    """Base of what the registry refuses; the message says what to do and may be shown to a caller."""


def printable(text: str) -> str:
    """Text that quotes a file, fit for a terminal, a log and a row: the file may hold anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:500])
