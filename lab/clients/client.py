"""Run a client's script against a server."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.environments import virtual_environment

HERE = Path(__file__).parent
VENVS = HERE / ".venvs"


@dataclass(frozen=True)
class OpenInferenceClient:
    """A client in `folder`, whose script score.py takes HOST:PORT, a token and a product, and prints JSON."""

    name: str

    @property
    def folder(self) -> Path:
        return HERE / self.name

    def install(self) -> Path:
        """Return its Python. Raises subprocess.CalledProcessError when pip cannot install it."""
        return virtual_environment(self.folder, VENVS / self.name) / "python"

    def score(self, host: str, token: str, product: str) -> dict[str, Any]:
        """Return what the script printed about three events with the amounts 0, 1 and 2."""
        command = [str(self.install()), str(self.folder / "score.py"), host, token, product]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))


CLIENTS = (OpenInferenceClient("tritonclient"), OpenInferenceClient("kserve"), OpenInferenceClient("mlserver"))
