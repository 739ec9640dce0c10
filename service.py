"""The Bento service: BentoML's process model, with our edge in front of its application.

The CLI's process imports this, and so does every worker: nothing here starts, connects or reads a setting.
"""

import os
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the imports they govern
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import attrs
import bentoml
import uvicorn
import uvicorn.config
from starlette.types import ASGIApp

from edge.app import Edge
from edge.http.server import LeavingServer
from runtime.auth import Authenticator
from runtime.postgres import PoolerInBetween, refuse_pooler
from runtime.settings import Settings, SettingsInvalid

EDGE = Edge()


@attrs.define
class EdgeService(bentoml.Service):
    """A BentoML service with our edge in front: BentoML's middlewares would halve the request rate."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        # BentoML asks uvicorn for the protocol "auto" and for uvicorn.Server; neither can be passed to it.
        uvicorn.config.HTTP_PROTOCOLS["auto"] = "edge.http.protocol:DirectProtocol"
        uvicorn.Server = LeavingServer  # type: ignore[misc]
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
            settings = Settings.load()
            settings.make_folders()
            Authenticator(settings)  # reads an identity provider's keys
            refuse_pooler(settings.database_url.get_secret_value())
        except (SettingsInvalid, PoolerInBetween) as invalid:
            raise SystemExit(str(invalid)) from None

    @bentoml.api(route="/v1/infer")
    async def infer(
        self, event_id: str, product: str, payload: dict[str, Any], routing_key: str | None = None
    ) -> dict[str, Any]:
        """Score one event; see /docs. Declared for BentoML's clients: the edge answers this path before BentoML."""
        raise AssertionError("the edge answers /v1/infer")

    @bentoml.on_startup
    async def start(self) -> None:
        await EDGE.start(Settings.load())

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await EDGE.stop()
