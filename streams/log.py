"""Log lines: one line each, on standard error, with the role in it; text for people or JSON for machines.

A traceback in one of them tells places and types, and no values (``streams.tracebacks``).
"""

from __future__ import annotations

import json
import logging
import time

from streams.settings import LoggingSettings
from streams.tracebacks import ValuesHidden


class _JsonFormatter(ValuesHidden):
    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(role: str, settings: LoggingSettings) -> None:
    """Send this process's log lines to standard error."""
    handler = logging.StreamHandler()
    if settings.format == "json":
        handler.setFormatter(_JsonFormatter(role))
    else:
        formatter = ValuesHidden(f"%(asctime)s.%(msecs)03dZ %(levelname)s {role}: %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for name in ("librdkafka", "streams.control"):  # which a command keeps quiet
        logging.getLogger(name).setLevel(logging.NOTSET)
    # Faust and aiokafka tell every heartbeat at INFO.
    for name in ("faust", "aiokafka", "mode", "kafka", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.level)))
