"""The program that runs llama.cpp: a separate process, because the library aborts its process on unsupported input.

It runs as a file, so it starts without the rest of Lanemesh: it imports only the standard library and `xllamacpp`.

The protocol is one JSON object per line. On standard input: first the options of the model, then any number of
`{"id": n, "body": {...}}`, which starts a generation, and `{"cancel": n}`, which ends one at its next token. The end of the
input ends the process. On standard output: `{"hello": {...}}` or `{"failed": {...}}` once the library is imported,
`{"ready": true}` or `{"failed": {...}}` once the model is loaded, then for each generation `{"id": n, "chunk": {...}}`
and at last `{"id": n, "end": null}`, or an end with `type` and `message` of an error.

`xllamacpp` always listens for HTTP and handles SIGINT and SIGTERM. It gets a Unix socket whose folder is removed as soon as the
model is loaded. The signals are ignored, because the parent decides when the process ends.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

PROMPT_BATCH = 128
"""Tokens of a prompt that are read between two checks for a cancellation."""
PROMPT_CACHE_MIB = 256
"""Maximum memory of the prompt cache, so that a conversation's history is not read again at each turn."""
LOG_ERRORS = 1
"""Verbosity at which llama.cpp logs only errors."""
EXIT_SECONDS = 5
"""How long the exit after a failed load may take."""
IGNORED = (signal.SIGINT, signal.SIGTERM)


class Output:
    """Writes messages to the parent, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="ascii")
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Writes one message. Blocks while the parent does not read."""
        line = json.dumps(message) + "\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()


class Generations:
    """Runs generations, each in a thread, at most one per slot of the server."""

    def __init__(self, server: Any, slots: int, output: Output) -> None:
        self._server = server
        self._output = output
        self._threads = ThreadPoolExecutor(slots)
        self._cancelled: dict[int, threading.Event] = {}

    def start(self, number: int, body: dict[str, Any]) -> None:
        """Starts a generation as soon as a slot is free."""
        cancelled = self._cancelled[number] = threading.Event()
        self._threads.submit(self._run, number, body, cancelled)

    def cancel(self, number: int) -> None:
        """Ends a generation at its next token; no effect if it has ended."""
        if cancelled := self._cancelled.get(number):
            cancelled.set()

    def _run(self, number: int, body: dict[str, Any], cancelled: threading.Event) -> None:
        def deliver(chunk: dict[str, Any]) -> bool:
            if not cancelled.is_set():
                self._output.send(id=number, chunk=chunk)
            return cancelled.is_set()

        end = None
        try:
            if not cancelled.is_set():
                self._server.handle_chat_completions(body, deliver)
        except Exception as error:
            end = described(error)
        del self._cancelled[number]
        self._output.send(id=number, end=end)


def main() -> None:
    """Serves one model until standard input ends."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    output = Output(os.dup(1))
    os.dup2(2, 1)  # output of the library must not be mixed with the messages
    xllamacpp = imported(output)
    options = json.loads(sys.stdin.readline() or "null")
    if options is None:
        return
    generations = Generations(loaded(xllamacpp, options, output), options["slots"], output)
    output.send(ready=True)
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            generations.cancel(message["cancel"])
        else:
            generations.start(message["id"], message["body"])


def imported(output: Output) -> Any:
    """Imports the library; reports to the parent whether it has a GPU and compiles schemas by llguidance."""
    try:
        import xllamacpp

        cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
        gpu = any(device["type"] != cpu for device in xllamacpp.get_device_info())
        guided = xllamacpp.json_schema_to_grammar("{}").startswith("%llguidance")
    except Exception as error:
        fail(output, "import", error)
    output.send(hello={"gpu": gpu, "guided": guided})
    return xllamacpp


def loaded(xllamacpp: Any, options: dict[str, Any], output: Output) -> Any:
    """The server object with the loaded model."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options["path"]
    if options["projector"]:
        parameters.mmproj.path = options["projector"]
    parameters.n_ctx = options["context_length"] * options["slots"]  # the server divides it among its slots
    parameters.n_parallel = options["slots"]
    parameters.n_batch = parameters.n_ubatch = PROMPT_BATCH
    parameters.n_gpu_layers = options["gpu_layers"]
    parameters.cpuparams.n_threads = options["threads"]
    parameters.cache_ram_mib = PROMPT_CACHE_MIB
    parameters.use_jinja = True
    parameters.verbosity = LOG_ERRORS
    parameters.api_keys = [secrets.token_hex(32)]
    parameters.n_threads_http = 1
    parameters.ui = False
    parameters.endpoint_slots = False
    try:
        with hidden_socket() as host:
            parameters.hostnames = [host]
            server = xllamacpp.Server(parameters)
    except OSError as error:
        fail(output, "socket", error)
    except Exception as error:
        fail(output, "load", error)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)  # the library has replaced them
    return server


@contextmanager
def hidden_socket() -> Iterator[str]:
    """The address of the server: a Unix socket in a folder of this user, removed with the folder.

    The name is relative to the working directory, because the path of a socket has at most 107 bytes. Without Unix sockets: a
    loopback port with a random key.
    """
    if os.name == "nt":
        yield "127.0.0.1"
        return
    folder, before = tempfile.mkdtemp(prefix="lanemesh-"), os.getcwd()
    os.chdir(folder)
    try:
        yield "llm.sock"
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def described(error: BaseException) -> dict[str, str]:
    """An error for the parent."""
    return {"type": type(error).__name__, "message": str(error), "name": getattr(error, "name", None) or ""}


def fail(output: Output, stage: str, error: BaseException) -> Any:
    """Reports that the process failed, and ends it."""
    output.send(failed={"stage": stage, **described(error)})
    if stage == "load":
        # llama.cpp logs the cause in a thread, which writes the rest of the log when the process exits.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(EXIT_SECONDS)
        sys.exit(1)
    os._exit(1)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
    os._exit(0)  # the library's threads may still generate, and must not run while the interpreter ends
