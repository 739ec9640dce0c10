"""Card and wallet payments with a plausible fraud process, from a seed. About 2.5 % are fraud.

The figures are invented; their pattern is what fraud teams describe: new accounts with few orders, retries, distance
between the address and the device, gift cards and electronics, night hours, amounts far above the category's median.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# country: (share of payments, currency, units of that currency to one US dollar)
COUNTRIES: dict[str, tuple[float, str, float]] = {
    "US": (0.30, "USD", 1.0),
    "FR": (0.16, "EUR", 0.9),
    "SN": (0.14, "XOF", 600.0),
    "DE": (0.10, "EUR", 0.9),
    "GB": (0.10, "GBP", 0.8),
    "CI": (0.08, "XOF", 600.0),
    "NG": (0.07, "NGN", 1500.0),
    "CA": (0.05, "CAD", 1.35),
}
CURRENCIES = frozenset(currency for _, currency, _ in COUNTRIES.values())
# category: (share of payments, median in US dollars, log-odds of fraud)
CATEGORIES: dict[str, tuple[float, float, float]] = {
    "groceries": (0.28, 32.0, -1.2),
    "restaurants": (0.18, 24.0, -1.0),
    "fashion": (0.16, 60.0, 0.0),
    "electronics": (0.12, 210.0, 0.9),
    "travel": (0.10, 340.0, 0.3),
    "gaming": (0.09, 18.0, 0.5),
    "gift_cards": (0.07, 75.0, 1.6),
}
# payment method: (share of payments, log-odds of fraud)
METHODS: dict[str, tuple[float, float]] = {
    "card": (0.58, 0.2),
    "wallet": (0.26, -0.4),
    "bank_transfer": (0.11, -0.8),
    "prepaid": (0.05, 1.2),
}
# Columns that a caller may omit, and the value that the model then uses.
DEFAULTS: dict[str, str | float] = {
    "merchant_category": "fashion",
    "ip_country": "unknown",
    "hour": 12.0,
    "account_age_days": 365.0,
    "orders_before": 10.0,
    "attempts_last_hour": 1.0,
    "ip_distance_km": 10.0,
}
STRINGS = ("currency", "country", "payment_method", "merchant_category", "ip_country")
NUMBERS = ("amount", "hour", "account_age_days", "orders_before", "attempts_last_hour", "ip_distance_km")
_BASE_LOG_ODDS = -5.4
_REQUIRED_ONLY_SHARE = 0.1  # share of payments with only the four required columns


@dataclass(frozen=True)
class Transactions:
    """`columns`: name -> (n,) array, str or float64; `fraud`: (n,) bool."""

    columns: dict[str, NDArray[Any]]
    fraud: NDArray[np.bool_]

    def payloads(self) -> Iterator[dict[str, str | float]]:
        """Yield one payload per row, in order."""
        names = list(self.columns)
        for row in zip(*(column.tolist() for column in self.columns.values()), strict=True):
            yield dict(zip(names, row, strict=True))


def transactions(count: int, *, seed: int) -> Transactions:
    """Return `count` payments; the same seed gives the same payments."""
    rng = np.random.default_rng(seed)
    country = _choose(rng, count, {name: share for name, (share, _, _) in COUNTRIES.items()})
    category = _choose(rng, count, {name: share for name, (share, _, _) in CATEGORIES.items()})
    method = _choose(rng, count, {name: share for name, (share, _) in METHODS.items()})
    spread = rng.normal(0.0, 0.8, count)  # of the amount around its category's median, in logs
    far = rng.random(count) < 0.06
    columns: dict[str, NDArray[Any]] = {
        "amount": np.round(_look_up(category, CATEGORIES, 1) * np.exp(spread) * _look_up(country, COUNTRIES, 2), 2),
        "currency": np.array([COUNTRIES[name][1] for name in country]),
        "country": country,
        "payment_method": method,
        "merchant_category": category,
        "ip_country": np.where(far, rng.permutation(country), country),
        "hour": np.floor(rng.normal(14.5, 5.0, count) % 24),
        "account_age_days": np.floor(rng.gamma(1.1, 420.0, count)),
        "orders_before": rng.poisson(rng.gamma(1.2, 9.0, count)).astype(float),
        "attempts_last_hour": 1.0 + rng.poisson(rng.gamma(0.3, 0.6, count)),
        "ip_distance_km": np.round(np.where(far, rng.gamma(2.0, 1400.0, count), rng.gamma(1.0, 25.0, count)), 1),
    }
    log_odds = _log_odds(columns, spread)
    fraud = rng.random(count) < 1.0 / (1.0 + np.exp(-log_odds))
    required_only = rng.random(count) < _REQUIRED_ONLY_SHARE
    for name, default in DEFAULTS.items():
        columns[name] = np.where(required_only, default, columns[name])
    return Transactions(columns, fraud)


def _log_odds(columns: dict[str, NDArray[Any]], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    night = (columns["hour"] < 6) | (columns["hour"] >= 23)
    young = np.exp(-columns["account_age_days"] / 45.0)
    far = np.log1p(columns["ip_distance_km"] / 300.0)
    retries = np.minimum(columns["attempts_last_hour"] - 1.0, 6.0)
    abroad = columns["ip_country"] != columns["country"]
    return np.asarray(
        _BASE_LOG_ODDS
        + _look_up(columns["merchant_category"], CATEGORIES, 2)
        + _look_up(columns["payment_method"], METHODS, 1)
        + 1.1 * np.maximum(spread, 0.0) ** 1.5
        + 2.4 * young
        + 1.0 * far
        + 0.9 * retries
        + 0.7 * night
        + 0.8 * abroad
        # Combinations of signals: a new account far from home that retries.
        + 1.6 * young * (far > 1.0)
        + 0.5 * retries * (spread > 0.8)
        - 0.8 * (columns["orders_before"] > 5)
    )


def _choose(rng: np.random.Generator, count: int, shares: dict[str, float]) -> NDArray[np.str_]:
    return np.asarray(rng.choice(list(shares), size=count, p=list(shares.values())))


def _look_up(names: NDArray[np.str_], table: dict[str, Any], index: int) -> NDArray[np.float64]:
    """Return the number at `index` of each name's tuple: (n,) names -> (n,) numbers."""
    known, positions = np.unique(names, return_inverse=True)
    return np.array([float(table[name][index]) for name in known])[positions]
