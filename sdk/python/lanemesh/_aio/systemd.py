"""What a service of the type `notify` sends to systemd (sd_notify(3)): that it is ready, that its loop runs, that it stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

log = logging.getLogger("lanemesh.server")

BEATS = 3
"""Messages in the time after which the watchdog would end the process."""


def notify(state: str) -> None:
    """Sends a state, such as "READY=1", to the service manager that started this process, if one did. An error is logged."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        log.warning("the service manager cannot be notified of %s at NOTIFY_SOCKET=%s: %s", state, address, error)


def watchdog_seconds() -> float | None:
    """The seconds without a message after which the service manager ends this process; None: there is no watchdog for it."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # it is that of a parent
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


class ServiceState:
    """The state of this process as a service: ready from `ready` on, alive as long as its event loop runs, stopping at last."""

    def __init__(self) -> None:
        self._beating: asyncio.Task[None] | None = None

    def ready(self) -> None:
        """The service is ready. Its watchdog gets messages from now on, also while it drains, until `close`."""
        notify("READY=1")
        seconds = watchdog_seconds()
        if seconds is not None and self._beating is None:
            self._beating = asyncio.create_task(_beat(seconds / BEATS), name="messages to the watchdog")

    def stopping(self) -> None:
        """The service finishes what it has begun."""
        notify("STOPPING=1")

    async def close(self) -> None:
        """Ends the messages to the watchdog."""
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating


async def _beat(seconds: float) -> None:
    """Sends the watchdog a message at these intervals. A blocked event loop sends none, and the process is ended."""
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)
