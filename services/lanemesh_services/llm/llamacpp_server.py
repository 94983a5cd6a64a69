"""The server object of `xllamacpp`: how it is loaded, and what is kept from it.

What it wants and we do not: it listens for HTTP (here on a socket that nobody can reach), and it takes over SIGINT and SIGTERM
(we put back what was there).
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanemesh_services.llm import memory
from lanemesh_services.llm.errors import library_missing, unusable
from lanemesh_services.llm.gguf_header import GgufHeader, read_header
from lanemesh_services.llm.signals import handlers_kept

PROMPT_BATCH = 128
"""Tokens of a prompt that are read between two looks at whether the generation is still wanted."""
PROMPT_CACHE_MIB = 256
"""Most memory for prompts read before, so that a conversation's history is not read again at each turn."""
READ_BLOCK = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppOptions:
    """What makes one loaded model differ from another."""

    path: Path
    """The GGUF file."""
    context_length: int = 2048
    """Most tokens of one conversation, the answer included."""
    slots: int = 4
    """Generations at once; more wait their turn."""
    threads: int | None = None
    """Threads that compute; None: half of the CPUs, since beside other work more threads make it far slower."""
    gpu_layers: int = -1
    """Layers that go to the GPU, where xllamacpp was built for one; -1: as many as fit."""


def load_server(options: LlamaCppOptions) -> tuple[GgufHeader, Any]:
    """Loads a model; returns what its file says, and the server object. Blocks. Raises as `LlamaCppEngine.load` does."""
    header = read_header(options.path)
    _check_context(header, options)
    try:
        import xllamacpp
    except ImportError:
        raise library_missing("xllamacpp", "llm_llamacpp", "llm") from None
    if not _has_gpu(xllamacpp):
        tokens = options.context_length * options.slots
        memory.check_fits(options.path, header.file_bytes, header.cache_bytes(tokens))
        _read_ahead(options.path)
    with _unreachable_address() as (hosts, keys), handlers_kept():
        try:
            return header, xllamacpp.Server(_parameters(xllamacpp, options, hosts, keys))
        except RuntimeError as error:
            hint = "It may be damaged, or of a kind that this version of xllamacpp does not know; try a newer one."
            raise unusable(options.path, f"llama.cpp could not load it ({error})", hint) from error


def _parameters(xllamacpp: Any, options: LlamaCppOptions, hosts: list[str], keys: list[str]) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.path)
    parameters.n_ctx = options.context_length * options.slots  # the server divides it among its slots
    parameters.n_parallel = options.slots
    parameters.n_batch = parameters.n_ubatch = PROMPT_BATCH
    parameters.n_gpu_layers = options.gpu_layers
    parameters.cpuparams.n_threads = options.threads or max(1, (os.cpu_count() or 1) // 2)
    parameters.cache_ram_mib = PROMPT_CACHE_MIB
    parameters.use_jinja = True
    parameters.verbosity = 0
    parameters.hostnames = hosts
    parameters.api_keys = keys
    parameters.n_threads_http = 1
    parameters.ui = False
    parameters.endpoint_slots = False
    return parameters


@contextmanager
def _unreachable_address() -> Iterator[tuple[list[str], list[str]]]:
    """Where the server listens, since it insists: a Unix socket whose name is gone once it is loaded; hosts and keys.

    Where there are no Unix sockets: a free loopback port, with a key that nobody knows.
    """
    keys = [secrets.token_hex(32)]
    if os.name == "nt":
        yield ["127.0.0.1"], keys
        return
    folder = tempfile.mkdtemp(prefix="lanemesh-")  # readable by this user only
    try:
        yield [f"{folder}/llm.sock"], keys
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_ahead(path: Path) -> None:
    """Brings the file into the page cache, so that the library, which keeps the interpreter's lock, need not wait for it."""
    block = bytearray(READ_BLOCK)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass


def _has_gpu(xllamacpp: Any) -> bool:
    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    return any(device["type"] != cpu for device in xllamacpp.get_device_info())


def _check_context(header: GgufHeader, options: LlamaCppOptions) -> None:
    limit = header.context_length
    if limit is not None and options.context_length > limit:
        hint = f"Set context_length to {limit} or less."
        raise unusable(options.path, f"it was made for {limit} tokens, not for {options.context_length}", hint)
    if not header.architecture:
        raise unusable(
            options.path, "it does not say of which kind it is", "Take a GGUF file that holds a language model."
        )
