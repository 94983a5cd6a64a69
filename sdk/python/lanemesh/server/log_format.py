"""The format of logs on standard error: each line has its source and, unless it is plain information, its level."""

from __future__ import annotations

import logging

from lanemesh.redaction import hidden_in_log

NOISY = ("alembic", "asyncio", "grpc", "h2", "httpcore", "httpx", "urllib3", "sqlalchemy")
"""Loggers of libraries whose lines below WARNING concern their own developers."""


def quiet_libraries(level: int) -> None:
    """Hides lines of these libraries below WARNING at every log level."""
    for name in NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class LineFormatter(logging.Formatter):
    """`llm_1 warning: the model calls ...`: the component for lines of a node, otherwise the logger's name. Secrets that this
    process was given are redacted, in lines of every logger."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, with its source before each line."""
        source = getattr(record, "component", None) or record.name
        level = f" {record.levelname.lower()}" if record.levelno != logging.INFO else ""
        return "\n".join(f"{source}{level}: {line}" for line in hidden_in_log(super().format(record)).split("\n"))
