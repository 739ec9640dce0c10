"""`python -m backtest`."""

from backtest.cli.commands import backtest
from backtest.errors import BacktestError
from registry import RegistryError
from runtime.command import run
from runtime.reading import InputInvalid

EXPECTED = (BacktestError, RegistryError, InputInvalid)

if __name__ == "__main__":
    run(backtest, *EXPECTED)
