"""`python -m delivery.recorder FILE ARGUMENT...`: the command `lanemesh`, whose frames of runs go to a file."""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import grpc
import grpc.aio

from delivery.frames import FRAMES, Frame


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Adds to a file, a line each, the frames of all channels and handlers that this process creates within the block, also those
    that come after it."""
    file = path.open("a", buffering=1)

    def noting(act: Callable[[Any], Any], method: str, peer: str, *, sends: bool) -> Callable[[Any], Any]:
        def acting(given: Any) -> Any:
            found = act(given)
            message = found if sends else given
            file.write(Frame(time.monotonic_ns(), sends, method, peer, message).to_json() + "\n")
            return found

        return acting

    dial, handle = grpc.aio.insecure_channel, grpc.stream_stream_rpc_method_handler

    def insecure_channel(target: str, *arguments: Any, **options: Any) -> grpc.aio.Channel:
        channel: Any = dial(target, *arguments, **options)
        call = channel.stream_stream

        def stream_stream(
            path: str, request_serializer: Any = None, response_deserializer: Any = None, **rest: Any
        ) -> Any:
            method = path.rpartition("/")[2]
            if method in FRAMES:
                request_serializer = noting(request_serializer, method, target, sends=True)
                response_deserializer = noting(response_deserializer, method, target, sends=False)
            return call(path, request_serializer, response_deserializer, **rest)

        channel.stream_stream = stream_stream
        return channel  # type: ignore[no-any-return]

    def stream_stream_rpc_method_handler(
        behavior: Any, request_deserializer: Any = None, response_serializer: Any = None
    ) -> Any:
        if (method := behavior.__name__) in FRAMES:
            request_deserializer = noting(request_deserializer, method, "", sends=False)
            response_serializer = noting(response_serializer, method, "", sends=True)
        return handle(behavior, request_deserializer, response_serializer)

    with (
        patch.object(grpc.aio, "insecure_channel", insecure_channel),
        patch.object(grpc, "stream_stream_rpc_method_handler", stream_stream_rpc_method_handler),
    ):
        yield


def main() -> None:
    """The command line."""
    path, *sys.argv[1:] = sys.argv[1:]
    with recorded(Path(path)), patch.object(os, "execv", _run_module):
        from lanemesh_orchestrator.cli import app

        app()


def _run_module(_: str, command: Sequence[str]) -> NoReturn:
    """Runs the module of `python -P -m MODULE ARGUMENT...` in this process, which `lanemesh node` would replace by it."""
    module, sys.argv[1:] = command[3], command[4:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    main()
