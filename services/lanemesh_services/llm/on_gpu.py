"""Which models use a GPU, and how much of its memory they take. On a GPU, an engine is loaded and used under leases."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Hashable
from functools import cache
from pathlib import Path

from lanemesh_services.llm.gguf_header import read_header
from lanemesh_services.llm.memory import OVERHEAD

DRIVER = Path("/dev/nvidiactl")
"""Present where NVIDIA's driver runs."""
PROBE_SECONDS = 60.0
"""How long xllamacpp may take to list its devices."""
PROBE = """
import xllamacpp

cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
print(any(device["type"] != cpu for device in xllamacpp.get_device_info()))
"""
WEIGHTS = ("*.safetensors", "*.bin")
"""Files of weights in a model's folder."""


def simulated() -> bool:
    """GPUs are simulated: engines run on the CPU, under leases of those."""
    return bool(os.environ.get("LANEMESH_GPUS", "").strip())


def llamacpp_uses_gpu() -> bool:
    """The installed xllamacpp uses a GPU, or GPUs are simulated. May block."""
    return simulated() or (DRIVER.exists() and _llamacpp_has_device())


def transformers_uses_gpu(device: str) -> bool:
    """torch uses a GPU for a device such as "auto" or "cuda:0", or GPUs are simulated. May block."""
    if device == "cpu" or device.startswith("mps"):
        return False
    if simulated():
        return True
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def gguf_bytes(path: Path, tokens: int, layers: int, projector: Path | None) -> int:
    """Bytes that llama.cpp has on a GPU, or 0 if they are unknown.

    Args:
        path: the GGUF file.
        tokens: the tokens of all conversations.
        layers: the layers on the GPU; -1: all.
        projector: the projector of images.
    """
    header = read_header(path)
    part = 1.0
    count = header.layers
    if layers >= 0 and count:
        part = min(layers / count, 1.0)
    model = int((header.file_bytes + header.cache_bytes(tokens)) * part)
    return model + (projector.stat().st_size if projector is not None else 0) + OVERHEAD


def folder_bytes(folder: Path, tokens: int) -> int:
    """Bytes that transformers has on a GPU for the model in a folder; 0: unknown, as for one that is not loaded from a folder."""
    if not folder.is_dir():
        return 0
    weights = next((size for pattern in WEIGHTS if (size := sum(f.stat().st_size for f in folder.glob(pattern)))), 0)
    return weights + _cache_bytes(folder / "config.json", tokens) + OVERHEAD if weights else 0


def engine_name(provider: str, key: Hashable) -> str:
    """The name of an engine at the GPU arbiter: that of its settings."""
    return f"{provider} {hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"


def _cache_bytes(config: Path, tokens: int) -> int:
    """The key-value cache, as that of GGUF files."""
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        values = values.get("text_config", values)
        heads = int(values["num_attention_heads"])
        width = int(values.get("head_dim") or int(values["hidden_size"]) // heads)
        kv_heads = int(values.get("num_key_value_heads") or heads)
        return 2 * 2 * int(values["num_hidden_layers"]) * kv_heads * width * tokens
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


@cache
def _llamacpp_has_device() -> bool:
    """The library lists a device that is not the CPU. In a process of its own: it may end the one that loads it."""
    try:
        found = subprocess.run(
            [sys.executable, "-P", "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.stdout.strip() == "True"
