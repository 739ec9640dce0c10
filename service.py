"""The Bento service: BentoML's process model, with our edge in front of its application.

Imported in the CLI's process and again in every worker: nothing here starts, connects or reads a setting.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the imports they govern
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import attrs
import bentoml
import uvicorn
import uvicorn.config
from starlette.types import ASGIApp

from edge.app import Edge
from edge.server import LeavingServer
from runtime.settings import Settings, SettingsInvalid

EDGE = Edge()


@attrs.define
class EdgeService(bentoml.Service):
    """A BentoML service that answers its hot routes before BentoML's middlewares, which halve the rate."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        # uvicorn's own table of protocols: BentoML asks it for "auto".
        uvicorn.config.HTTP_PROTOCOLS["auto"] = "edge.protocol:DirectProtocol"
        uvicorn.Server = LeavingServer  # type: ignore[misc]
        # attrs makes the class anew for its slots: super() without arguments would name the old one.
        inner = super().to_asgi(is_main)
        return EDGE.in_front_of(inner) if is_main else inner


@bentoml.service(name="sira_inference", http={"port": 8080}, service_class=EdgeService)
class SiraInference:
    """Fraud scoring behind /v1/infer; see /docs for every route."""

    @bentoml.on_deployment
    @staticmethod
    def check_settings() -> None:
        """Once, before any worker starts: a wrong setting ends the start with one line."""
        try:
            Settings.load().make_folders()
        except SettingsInvalid as invalid:
            raise SystemExit(str(invalid)) from None

    @bentoml.on_startup
    async def start(self) -> None:
        await EDGE.start(Settings.load())

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await EDGE.stop()
