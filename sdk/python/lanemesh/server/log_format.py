"""How logs look on standard error: who says it before each line, and how bad it is unless it is plain information."""

from __future__ import annotations

import logging

from lanemesh.redaction import hidden_in_log

NOISY = ("alembic", "asyncio", "grpc", "h2", "httpcore", "httpx", "urllib3", "sqlalchemy")
"""Loggers of libraries whose lines below a warning concern their own developers."""


def quiet_libraries(level: int) -> None:
    """Shows of libraries no lines below a warning, whatever the level of the rest."""
    for name in NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class LineFormatter(logging.Formatter):
    """`llm_1 warning: the model calls ...`: the component where a node speaks, else the logger's name. Without the secrets that
    this process has been given, whoever logs."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, with its source before each line."""
        source = getattr(record, "component", None) or record.name
        level = f" {record.levelname.lower()}" if record.levelno != logging.INFO else ""
        return "\n".join(f"{source}{level}: {line}" for line in hidden_in_log(super().format(record)).split("\n"))
