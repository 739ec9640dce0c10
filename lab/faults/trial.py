"""One scenario at work: where it works, for how long, what it expects, and the account at its end."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.faults import log_store
from lab.faults.account import Account, reconcile
from lab.faults.background import Background
from lab.faults.ledger import Ledger
from lab.faults.load import Callers, calling
from lab.faults.models import PRODUCT, Models, payloads
from lab.faults.object_store import ObjectStore
from lab.faults.recomputation import Recomputation
from lab.faults.service import Service, StandFailed, wait_until
from lab.faults.stand import Stand

SETTLE_SECONDS = 90.0
PAYLOADS = 50_000  # more than the cache holds


class Unavailable(Exception):
    """This machine has not what the scenario needs; the message says what that is."""


def require_wrk() -> None:
    """Raises Unavailable where it is not installed; that it fails is another matter."""
    if not shutil.which("wrk"):
        raise Unavailable("load needs wrk (Debian: wrk)")


@dataclass(frozen=True)
class Outcome:
    """A row of the table. `extent` is how long, or how often, something was broken.

    `unmet` names what was expected and did not come; `unavailable` why it could not run.
    """

    name: str
    fault: str
    extent: str = ""
    seconds: float = 0.0
    sent: int = 0
    refused: int = 0
    broken: int = 0
    account: Account = field(default_factory=Account)
    uneven: int = 0
    notes: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    unavailable: str | None = None

    @property
    def passed(self) -> bool:
        return self.unavailable is None and self.account.balanced and not self.uneven and not self.unmet


@dataclass
class Trial:
    """What a scenario is given. `show(done, of, doing)` moves its progress bar."""

    folder: Path
    background: Background
    models: Models
    quick: bool
    object_store: Callable[[], ObjectStore]
    long_run_minutes: float = 60.0
    show: Callable[[float, float, str], None] = lambda done, of, doing: None
    ledger: Ledger = field(default_factory=Ledger)
    account: Account = field(default_factory=Account)
    uneven: int = 0
    extent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.payloads = payloads(PAYLOADS)

    def length(self, *, full: float, quick: float) -> float:
        seconds = quick if self.quick else full
        self._extends(f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min")
        return seconds

    def rounds(self, *, full: int, quick: int, doing: str) -> Iterator[int]:
        """Numbers from 0, the bar moving with them."""
        count = quick if self.quick else full
        self._extends(f"{count} times" if count > 1 else "once")
        for number in range(count):
            self.show(number, count, doing)
            yield number
        self.show(count, count, doing)

    def _extends(self, extent: str) -> None:
        if extent not in self.extent:
            self.extent.append(extent)

    def wait(self, seconds: float, doing: str) -> None:
        started = time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            self.show(passed, seconds, doing)
            time.sleep(min(0.2, seconds - passed))

    def expect(self, met: bool, what: str) -> None:
        if not met:
            self.unmet.append(what)

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextlib.contextmanager
    def stand(self, *, bucket: Mapping[str, str] | None = None, postgres_home: Path | None = None) -> Iterator[Stand]:
        with Stand.open(self.folder, self.background, self.models, bucket=bucket, postgres_home=postgres_home) as stand:
            yield stand

    @contextlib.contextmanager
    def load(self, stand: Stand, port: int, *, per_second: float = 200.0, connections: int = 16) -> Iterator[None]:
        """Callers until the block ends. Event ids begin with "event-" and end with the number of the payload's turn."""
        callers = Callers(port, stand.service_token, PRODUCT, self.payloads, per_second, connections)
        with calling(self.background, callers, self.ledger):
            yield

    def settle(self, stand: Stand, *, one_in: int = 1) -> float:
        """Wait until every answered row is in Postgres, then draw up the account; seconds it took.

        Of rows whose callers did not keep their answers, one in so many is looked at.
        """
        ids = list(self.ledger.answers)
        with stand.owner() as connection:
            try:
                seconds = wait_until(
                    lambda: log_store.count_logged(connection, ids) >= len(ids), SETTLE_SECONDS, "the log is whole"
                )
            except StandFailed:
                seconds = SETTLE_SECONDS  # what is missing by now is counted as lost
            recomputation = Recomputation(stand.models.by_digest())
            self.account = reconcile(
                self.ledger, log_store.logged(connection, one_in=one_in), self._sent, recomputation.scores
            )
            self.uneven = log_store.differences(connection)
        self.expect(
            not self.ledger.without_retry_after, f"{self.ledger.without_retry_after} refusals say when to retry"
        )
        return seconds

    def answered(self) -> int:
        """So far."""
        return self.ledger.answered

    def expect_answers_went_on(self, answered_before: int, seconds: float, per_second: float = 200.0) -> None:
        """While something was broken, callers noticed nothing: at least 90 % of the rate was answered."""
        answered = self.ledger.answered - answered_before
        self.expect(answered >= 0.9 * seconds * per_second, f"scoring went on: {answered} answers in {seconds:.0f} s")

    def expect_no_refusal(self) -> None:
        refused = dict(self.ledger.refused)
        self.expect(not refused, f"nothing was refused: {refused} {dict(self.ledger.details.most_common(3))}")

    def expect_ready(self, service: Service) -> None:
        readiness = service.readiness()
        self.expect(readiness.status == 200, f"the service stays ready: {readiness.status} {readiness.body}")

    def _sent(self, event_id: str) -> Mapping[str, Any]:
        return self.payloads[int(event_id.rpartition("-")[2]) % len(self.payloads)]


@dataclass(frozen=True)
class Scenario:
    """`fault` is what the table says was done."""

    name: str
    fault: str
    run: Callable[[Trial], None]


def outcome_of(scenario: Scenario, trial: Trial) -> Outcome:
    """Run it; what it raises is an outcome too."""
    started = time.monotonic()
    unavailable = None
    try:
        scenario.run(trial)
    except Unavailable as missing:
        unavailable = str(missing)
    except StandFailed as failed:
        trial.unmet.append(str(failed))
    return Outcome(
        name=scenario.name,
        fault=scenario.fault,
        extent=", ".join(trial.extent) or "once",
        seconds=time.monotonic() - started,
        sent=trial.ledger.sent,
        refused=sum(trial.ledger.refused.values()),
        broken=trial.ledger.broken,
        account=trial.account,
        uneven=trial.uneven,
        notes=tuple(trial.notes),
        unmet=tuple(trial.unmet),
        unavailable=unavailable,
    )
