"""Structured logs: a JSON object a line, with the request's id, on standard error."""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import Any

import structlog


def configure(stream: Any = None) -> None:
    """Write the server's words, and those of the libraries under it, as JSON lines."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
    )
    log.cache_clear()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


@cache
def log() -> Any:
    """The server's logger, as it is configured now."""
    return structlog.get_logger("shoploom").bind()
