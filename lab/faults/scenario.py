"""A fault scenario while it runs: its folder, its load, what it expects, and the reconciliation at its end."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.background import Background
from lab.errors import LabError, NotInTime
from lab.faults import log_store
from lab.faults.deployment import Deployment
from lab.faults.models import PRODUCT, Models, payloads
from lab.faults.object_store import ObjectStore
from lab.faults.recomputation import Recomputation
from lab.faults.reconciliation import Reconciliation, reconcile
from lab.load.callers import DEFAULT_CALLERS, Callers
from lab.load.ledger import Ledger
from lab.product import NO_SETTINGS, Service, Settings
from lab.waiting import wait_until

SETTLE_SECONDS = 90.0
PAYLOADS = 50_000  # more than the cache holds
DEFAULT_RATE = 200.0
REPEAT_EVERY = 20
MIN_ANSWERED_SHARE = 0.9


class Unavailable(Exception):
    """This machine lacks something that the scenario needs; the message says what."""


def require_wrk() -> None:
    """Raise Unavailable if wrk is not installed; a wrk that fails is a failure of the scenario."""
    if not shutil.which("wrk"):
        raise Unavailable("load needs wrk (Debian: wrk)")


@dataclass(frozen=True)
class Outcome:
    """One row of the table. `extent`: how long, or how often, the fault was injected.

    `unmet`: expectations that were not met; `unavailable`: why the scenario could not run.
    """

    name: str
    fault: str
    extent: str = ""
    seconds: float = 0.0
    sent: int = 0
    refused: int = 0
    broken: int = 0
    reconciliation: Reconciliation = field(default_factory=Reconciliation)
    evidence_differences: int = 0
    notes: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    unavailable: str | None = None

    @property
    def passed(self) -> bool:
        return (
            self.unavailable is None
            and self.reconciliation.balanced
            and not self.evidence_differences
            and not self.unmet
        )


@dataclass
class ScenarioRun:
    """The means of a scenario. `show(done, of, action)` moves its progress bar."""

    folder: Path
    background: Background
    models: Models
    quick: bool
    object_store: Callable[[], ObjectStore]
    long_run_minutes: float = 60.0
    show: Callable[[float, float, str], None] = lambda done, of, action: None
    ledger: Ledger = field(default_factory=Ledger)
    reconciliation: Reconciliation = field(default_factory=Reconciliation)
    evidence_differences: int = 0
    extent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.payloads = payloads(PAYLOADS)

    def length(self, *, full: float, quick: float) -> float:
        """Choose the seconds of this run and note them as its extent."""
        seconds = quick if self.quick else full
        self._note_extent(f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min")
        return seconds

    def rounds(self, *, full: int, quick: int, action: str) -> Iterator[int]:
        """Yield the numbers of the rounds, from 0; the progress bar follows."""
        count = quick if self.quick else full
        self._note_extent(f"{count} times" if count > 1 else "once")
        for number in range(count):
            self.show(number, count, action)
            yield number
        self.show(count, count, action)

    def wait(self, seconds: float, action: str) -> None:
        started = time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            self.show(passed, seconds, action)
            time.sleep(min(0.2, seconds - passed))

    def expect(self, met: bool, expectation: str) -> None:
        if not met:
            self.unmet.append(expectation)

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextlib.contextmanager
    def deployment(self, *, bucket: Settings = NO_SETTINGS, postgres_home: Path | None = None) -> Iterator[Deployment]:
        opened = Deployment.open(self.folder, self.background, self.models, bucket=bucket, postgres_home=postgres_home)
        with opened as deployment:
            yield deployment

    @contextlib.contextmanager
    def load(
        self,
        deployment: Deployment,
        port: int,
        *,
        per_second: float = DEFAULT_RATE,
        connections: int = DEFAULT_CALLERS,
    ) -> Iterator[None]:
        """Send events until the block ends; event n is called "event-n" and has payload n."""
        with Callers(
            port,
            deployment.service_token,
            PRODUCT,
            self.payloads,
            per_second,
            connections,
            repeat_every=REPEAT_EVERY,
            leave_when_unavailable=True,
            ledger=self.ledger,
        ):
            yield

    def settle(self, deployment: Deployment, *, one_in: int = 1) -> float:
        """Wait until every answered row is in Postgres, then reconcile; return the seconds of the wait.

        Of the rows of load whose answers were not kept, only one in `one_in` is compared.
        """
        ids = list(self.ledger.answers)
        with deployment.owner() as connection:
            try:
                seconds = wait_until(
                    lambda: log_store.count_logged(connection, ids) >= len(ids), SETTLE_SECONDS, "the log is complete"
                )
            except NotInTime:
                seconds = SETTLE_SECONDS  # rows that are missing by now count as lost
            recomputation = Recomputation(deployment.models.by_digest())
            self.reconciliation = reconcile(
                self.ledger, log_store.logged(connection, one_in=one_in), self._payload_of, recomputation.scores
            )
            self.evidence_differences = log_store.count_evidence_differences(connection)
        self.expect(
            not self.ledger.without_retry_after,
            f"every refusal has a Retry-After header: {self.ledger.without_retry_after} do not",
        )
        return seconds

    def answered(self) -> int:
        """Return the number of answers so far."""
        return self.ledger.answered

    def expect_answers_continued(self, answered_before: int, seconds: float, per_second: float = DEFAULT_RATE) -> None:
        """Expect that callers noticed nothing during the fault: at least 90 % of the rate was answered."""
        answered = self.ledger.answered - answered_before
        self.expect(
            answered >= MIN_ANSWERED_SHARE * seconds * per_second,
            f"scoring continues: {answered} answers in {seconds:.0f} s",
        )

    def expect_no_refusal(self) -> None:
        refused = dict(self.ledger.refused)
        self.expect(not refused, f"nothing is refused: {refused} {dict(self.ledger.details.most_common(3))}")

    def expect_no_broken_connection(self) -> None:
        self.expect(self.ledger.broken == 0, f"no connection breaks: {self.ledger.broken} did")

    def expect_ready(self, service: Service) -> None:
        readiness = service.readiness()
        self.expect(readiness.status == 200, f"the service stays ready: {readiness.status} {readiness.body}")

    def _note_extent(self, extent: str) -> None:
        if extent not in self.extent:
            self.extent.append(extent)

    def _payload_of(self, event_id: str) -> Mapping[str, Any]:
        return self.payloads[int(event_id.rpartition("-")[2]) % len(self.payloads)]


@dataclass(frozen=True)
class Scenario:
    """`fault`: how the table describes it."""

    name: str
    fault: str
    inject: Callable[[ScenarioRun], None]


def outcome_of(scenario: Scenario, run: ScenarioRun) -> Outcome:
    """Run the scenario; an error of the deployment becomes part of the outcome."""
    started = time.monotonic()
    unavailable = None
    try:
        scenario.inject(run)
    except Unavailable as missing:
        unavailable = str(missing)
    except LabError as failed:
        run.unmet.append(str(failed))
    return Outcome(
        name=scenario.name,
        fault=scenario.fault,
        extent=", ".join(run.extent) or "once",
        seconds=time.monotonic() - started,
        sent=run.ledger.sent,
        refused=run.ledger.refused.total(),
        broken=run.ledger.broken,
        reconciliation=run.reconciliation,
        evidence_differences=run.evidence_differences,
        notes=tuple(run.notes),
        unmet=tuple(run.unmet),
        unavailable=unavailable,
    )
