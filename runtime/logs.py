"""Logging as one JSON object per line on stderr: time, level, logger, event, fields. No payload value, no secret."""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats `log.info("event_name", extra={"field": value})` as one line.

    An exception is logged with its class and line, not its text, which may contain a payload value or a password.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update({key: value for key, value in record.__dict__.items() if key not in _STANDARD})
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            traceback = record.exc_info[2]
            while traceback and traceback.tb_next:
                traceback = traceback.tb_next
            if traceback:
                line["at_line"] = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure_logs(level: str = "INFO", levels: Mapping[str, str] | None = None) -> None:
    """Send all loggers to stderr as JSON lines: ours from `level` up, others from their level in `levels` or WARNING.

    Handlers that libraries installed are removed, so that each line appears once and in one format.
    """
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sira").setLevel(level)
    for name, its_level in (levels or {}).items():
        logging.getLogger(name).setLevel(its_level)
