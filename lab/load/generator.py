"""What every load generator has in common: what it sends, how it is run, and the figures it returns."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

DEFAULT_CONNECTIONS = 32


@dataclass(frozen=True)
class Target:
    """The requests' address and contents: `head`, then an event id, then a line of the file `bodies`."""

    url: str
    head: str
    bodies: Path
    token: str = ""


@dataclass(frozen=True)
class Summary:
    """`failures`: kind -> number of requests that got no 2xx answer; `requests` counts them too."""

    requests: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def errors(self) -> int:
        return sum(self.failures.values())


class Generator(ABC):
    """Load that runs in the background from the start of a `with` block until finish() or the end of the block."""

    @abstractmethod
    def start(self) -> None:
        """Begin to send."""

    @abstractmethod
    def finish(self) -> Summary:
        """Wait until the load is over, or end it if it has no end of its own. Raises LoadFailed."""

    @abstractmethod
    def stop(self) -> None:
        """End it at once if it still runs. Safe to repeat."""

    def run(self) -> Summary:
        """Send everything; return when the load is over."""
        with self:
            return self.finish()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def new_tag() -> str:
    """Return 10 characters, new for each run, that precede the nine digits of a request's number in its event id."""
    return secrets.token_hex(5)[:9] + "-"


def write_bodies(path: Path, tails: Iterable[str]) -> Path:
    """Write one line per body: what follows the event id."""
    path.write_text("".join(tail + "\n" for tail in tails))
    return path
