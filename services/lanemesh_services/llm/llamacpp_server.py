"""The process of llama.cpp: starts, calls and ends it. `llamacpp_child` is its program.

llama.cpp calls `abort` on unsupported input. In a separate process that ends only the generations of one model, and neither the
node server nor other runs.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lanemesh import LanemeshError
from lanemesh.extend import close_in_children

from lanemesh_services.llm import memory
from lanemesh_services.llm.errors import failed, no_temp_folder
from lanemesh_services.llm.gguf_header import GgufHeader, check_chat_model, read_header
from lanemesh_services.shared.errors import not_imported, unusable

PROGRAM = Path(__file__).with_name("llamacpp_child.py")
CLOSE_WAIT = 5.0
"""Seconds that `close` waits for the process to end before it kills it."""
LOG_LINES = 40
"""Lines of the process's standard error that are kept to explain its end."""

Receive = Callable[[dict[str, Any]], None]
"""Receives the messages of one generation, in a thread of the process: chunks, then `end` or `error`. It must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppOptions:
    """The options that distinguish loaded models."""

    path: Path
    """The GGUF file."""
    context_length: int = 2048
    """Maximum number of tokens of one conversation, including the answer."""
    slots: int = 4
    """Maximum number of concurrent generations; further ones wait."""
    threads: int | None = None
    """Number of threads; None: half of the CPUs, because more threads are far slower beside other work."""
    gpu_layers: int = -1
    """Layers on the GPU, if xllamacpp was built for one; -1: as many as fit."""
    projector: Path | None = None
    """The GGUF file with the model's projector of images ("mmproj"); None: it reads only text."""
    device: str = ""
    """The GPU that it uses, such as "cuda:1"; empty: all."""

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its process."""
        kind, _, number = self.device.rpartition(":")
        if kind != "cuda":
            return dict(os.environ)
        return os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": number}


class LlamaCppProcess:
    """A process with a loaded model. Start one with `start`."""

    def __init__(self, options: LlamaCppOptions, header: GgufHeader) -> None:
        self._options = options
        self._header = header
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=options.environ,
        )
        assert self._process.stdin is not None
        close_in_children(self._process.stdin)
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._logging = self._thread(self._read_log, "log")
        self._receivers: dict[int, Receive] = {}
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._next = 0
        self._ended: LanemeshError | None = None
        self._to_write: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # at most two messages per generation
        self.guided = False
        """Whether a grammar may hold a JSON schema for llguidance."""

    @classmethod
    def start(cls, options: LlamaCppOptions) -> Self:
        """Starts a process and loads a model in it. Blocks.

        Raises:
            ModelUnusable: not a GGUF file, no chat model, a damaged file, or a kind that llama.cpp does not support.
            ModelTooLarge: weights or context do not fit.
            EngineMissing: xllamacpp is not installed, or cannot be imported.
        """
        header = read_header(options.path)
        check_chat_model(header)
        _check_context(header, options)
        if options.projector is not None:
            check_projector(options.projector)
        process = cls(options, header)
        try:
            process._load()
        except BaseException:
            process.close()
            raise
        process._thread(process._read, "read")
        process._writer = process._thread(process._write, "write")
        return process

    @property
    def header(self) -> GgufHeader:
        """The metadata of the file."""
        return self._header

    @property
    def alive(self) -> bool:
        """Whether generations can be started."""
        return self._ended is None

    def generate(self, body: dict[str, Any], receive: Receive) -> int:
        """Starts a generation; returns its number. Raises `GenerationFailed` if the process has ended."""
        with self._lock:
            if self._ended is not None:
                raise self._ended
            self._next += 1
            self._receivers[self._next] = receive
            self._to_write.put(json.dumps({"id": self._next, "body": body}))
            return self._next

    def cancel(self, number: int) -> None:
        """Ends a generation at its next token. Its receiver still gets an `end`."""
        self._to_write.put(json.dumps({"cancel": number}))

    def grammar_error(self) -> str:
        """Why llama.cpp did not follow the grammar: the last such error of its log."""
        for line in reversed(self._log.copy()):
            if "llg error" in line:
                return f"is not supported by the engine: {_message(line.split('llg error: ', 1)[-1])}"
        return "is not supported by the engine: simplify it"

    def close(self) -> None:
        """Ends the process, and every generation with it. Waits until it has ended, and kills it after some seconds. Blocks."""
        if self._writer is None:
            self._close_input()
        self._to_write.put(None)
        try:
            self._process.wait(CLOSE_WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"llamacpp-{name}", daemon=True)
        thread.start()
        return thread

    def _load(self) -> None:
        options = self._options
        hello = self._receive("hello")["hello"]
        self.guided = hello["guided"]
        if not hello["gpu"]:
            tokens = options.context_length * options.slots
            projector = options.projector.stat().st_size if options.projector is not None else 0
            memory.check_fits(options.path, self._header.file_bytes + projector, self._header.cache_bytes(tokens))
        settings = {
            "path": str(options.path.absolute()),
            "context_length": options.context_length,
            "slots": options.slots,
            "threads": options.threads or max(1, (os.cpu_count() or 1) // 2),
            "gpu_layers": options.gpu_layers,
            "projector": str(options.projector.absolute()) if options.projector is not None else "",
        }
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: the next read gets the reason
            self._process.stdin.write(json.dumps(settings) + "\n")
            self._process.stdin.flush()
        self._receive("ready")

    def _receive(self, wanted: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        message: dict[str, Any] = json.loads(line) if line.endswith("\n") else {}
        if wanted in message:
            return message
        raise self._not_loaded(message.get("failed"))

    def _not_loaded(self, failure: dict[str, str] | None) -> LanemeshError:
        path = self._options.path
        if failure is None:
            hint = "Use another model, or a newer version of xllamacpp."
            return unusable(path, f"llama.cpp ended while loading it ({self._end()})", hint)
        text = failure["message"]
        if failure["stage"] == "import":
            error = {"kind": failure["type"], "name": failure["name"], "message": text}
            return not_imported("xllamacpp", "llm_llamacpp", "llm", **error)
        if failure["stage"] == "socket":
            return no_temp_folder(text)
        self._process.wait()
        log = [_message(line) for line in self._logged()]
        bound = next((line for line in log if "bind" in line), "")
        if bound:
            return no_temp_folder(bound)
        causes = [
            line for line in log if any(word in line for word in ("error loading model", "unknown", "template"))
        ] or [text]
        hint = "This version of xllamacpp may not support it; try a newer one."
        return unusable(path, f"llama.cpp could not load it ({causes[0]})", hint)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                break
            message = json.loads(line)
            number = message["id"]
            receive = self._receivers.get(number) if "chunk" in message else self._receivers.pop(number, None)
            if receive is not None:
                receive(message)
        self._finish()

    def _finish(self) -> None:
        hint = "The model is loaded again for the next request; retry."
        error = failed(f"llama.cpp ended during the generation ({self._end()})", hint)
        with self._lock:
            self._ended = error
            left = list(self._receivers.values())
            self._receivers.clear()
        for receive in left:
            receive({"error": error})
        self._to_write.put(None)

    def _write(self) -> None:
        assert self._process.stdin is not None
        try:
            while (line := self._to_write.get()) is not None:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
        except OSError:
            pass  # the process has ended, which `_read` reports
        self._close_input()

    def _close_input(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # unwritten messages are for a process that has ended
            self._process.stdin.close()

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line.rstrip())

    def _logged(self) -> list[str]:
        self._logging.join(CLOSE_WAIT)
        return [line for line in self._log if line]

    def _end(self) -> str:
        """How the process ended, and the first line of an assertion that it logged, if there is one."""
        try:
            code = self._process.wait(CLOSE_WAIT)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        text = next((line for line in self._logged() if "GGML_ASSERT" in line or "GGML_ABORT" in line), "")
        return f"{how}: {text:.300}" if text else how


def _message(line: str) -> str:
    """A line of llama.cpp's log without time and level."""
    return line.split(": ", 1)[-1].strip()


def check_projector(path: Path) -> None:
    """Raises `ModelUnusable` if a file is no projector of images."""
    if (architecture := read_header(path).architecture) != "clip":
        hint = 'Give the file that the model\'s maker calls "mmproj".'
        raise unusable(path, f'it is no projector of images: its architecture is "{architecture}"', hint)


def _check_context(header: GgufHeader, options: LlamaCppOptions) -> None:
    limit = header.context_length
    if limit is not None and options.context_length > limit:
        hint = f"Set context_length to {limit} or less."
        raise unusable(options.path, f"its limit is {limit} tokens, not for {options.context_length}", hint)
