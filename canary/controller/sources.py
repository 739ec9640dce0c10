"""The judge's outside sources: critical alerts from Alertmanager, and values of named Prometheus queries."""

import json
import logging
import math
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

log = logging.getLogger("sira.canary.sources")

# A rollback waits for these answers, so the timeout is a small part of a tick.
TIMEOUT_SECONDS = 2.0
_MAX_CONCURRENT_REQUESTS = 8
# Teams share an Alertmanager: another team's alert holds a canary only if it carries our label.
_CRITICAL = "/api/v2/alerts?active=true&silenced=false&inhibited=false&" + urllib.parse.urlencode(
    [("filter", 'severity="critical"'), ("filter", 'service="sira-inference"')]
)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, order=True)
class Alert:
    """`product` is empty when the alert concerns no single product."""

    name: str
    product: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """critical_alerts: the firing ones, None when unknown. values: by query, None when there is no value."""

    critical_alerts: tuple[Alert, ...] | None = None
    values: Mapping[str, float | None] = field(default_factory=dict)

    def alerts_about(self, product: str) -> tuple[str, ...] | None:
        """Return the alerts that concern a product: its own, and those without a product."""
        if self.critical_alerts is None:
            return None
        return tuple(sorted({alert.name for alert in self.critical_alerts if alert.product in ("", product)}))


class Sources:
    """Query Alertmanager and Prometheus concurrently. A late answer counts as unknown, not as an error."""

    def __init__(self, alertmanager_url: str | None, prometheus_url: str | None) -> None:
        self._alertmanager_url = alertmanager_url
        self._prometheus_url = prometheus_url
        self._pool = ThreadPoolExecutor(_MAX_CONCURRENT_REQUESTS, thread_name_prefix="sources")

    def ask(self, queries: Collection[str]) -> Answers:
        alerts = self._pool.submit(_or_none, self._critical_alerts)
        values = {query: self._pool.submit(_or_none, self._value, query) for query in queries}
        asked: list[Future[Any]] = [alerts, *values.values()]
        wait(asked, timeout=TIMEOUT_SECONDS)
        return Answers(_result(alerts), {query: _result(value) for query, value in values.items()})

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _critical_alerts(self) -> tuple[Alert, ...] | None:
        if not self._alertmanager_url:
            return None
        alerts = _get_json(self._alertmanager_url.rstrip("/") + _CRITICAL)
        labels = (alert["labels"] for alert in alerts)
        return tuple(sorted({Alert(one.get("alertname", "unnamed"), one.get("product", "")) for one in labels}))

    def _value(self, query: str) -> float | None:
        """Return the one sample of an instant vector or a scalar; None for none, for several, and if not finite."""
        if not self._prometheus_url:
            return None
        parameters = urllib.parse.urlencode({"query": query, "timeout": f"{TIMEOUT_SECONDS:g}s"})
        data = _get_json(f"{self._prometheus_url.rstrip('/')}/api/v1/query?{parameters}")["data"]
        samples = [data["result"]] if data["resultType"] == "scalar" else [row["value"] for row in data["result"]]
        if len(samples) != 1:
            log.warning("query_without_single_value", extra={"samples": len(samples)})
            return None
        value = float(samples[0][1])
        return value if math.isfinite(value) else None


def _get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        return json.load(response)


def _or_none(ask: Callable[..., _Answer | None], *arguments: str) -> _Answer | None:
    try:
        return ask(*arguments)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("source_unavailable", extra={"error": type(error).__name__})
        return None


def _result(future: "Future[_Answer | None]") -> _Answer | None:
    return future.result() if future.done() and not future.cancelled() else None
