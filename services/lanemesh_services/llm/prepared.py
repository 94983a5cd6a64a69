"""GGUF models for transformers: dequantised once, kept in the cache folder, and loaded from there."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from lanemesh_services.llm import memory
from lanemesh_services.llm.gguf_header import check_chat_model, read_header
from lanemesh_services.llm.transformers_model import quieten
from lanemesh_services.shared.errors import import_failed, unusable
from lanemesh_services.shared.models import cache_dir, made_cache_dir

SAMPLE = 1024 * 1024
"""Bytes at the beginning and at the end of a file that identify it."""
STALE = 3600.0
"""Age in seconds of an incomplete folder after which its process counts as killed."""
EXPANSION = 4
"""Maximum ratio of the size of a dequantised model, in 16-bit numbers, to its file."""


def prepared(path: Path) -> Path:
    """The folder that transformers loads for a GGUF file. Creates it once if it is missing, and reports that.

    Takes some 15 seconds for 100 MB. Several processes may do it at once; the first to be ready wins.

    Raises:
        ModelUnusable: not a GGUF file, or of an architecture that transformers cannot read from GGUF.
        ModelTooLarge: the dequantised model does not fit in memory.
        EngineMissing: torch, transformers or gguf is not installed.
    """
    header = read_header(path)
    check_chat_model(header)
    target = cache_dir() / f"{path.stem}-{_fingerprint(path)}"
    if target.is_dir():
        return target
    memory.check_fits(path, header.file_bytes * EXPANSION, 0)
    _check_libraries()
    made_cache_dir()
    _remove_stale(target.parent)
    _report(f"Preparing {path.name} for transformers in {target} (once; about 15 s for each 100 MB) ...")
    began = time.monotonic()
    workplace = Path(tempfile.mkdtemp(prefix=".preparing-", dir=target.parent))
    try:
        made = workplace / "model"
        _dequantise(path, made)
        try:
            os.rename(made, target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    _report(f"Prepared {path.name} in {time.monotonic() - began:.0f} s.")
    return target


def _check_libraries() -> None:
    for library in ("torch", "transformers", "gguf"):
        try:
            importlib.import_module(library)
        except (ImportError, OSError) as error:
            raise import_failed(library, "llm_transformers", "transformers", error) from error


def _dequantise(path: Path, folder: Path) -> None:
    import torch
    from tqdm.auto import tqdm
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils

    quieten()
    # The only progress bar that `quieten` does not disable: it redraws its line, which a log cannot show.
    modeling_gguf_pytorch_utils.tqdm = partial(tqdm, disable=True)
    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        _report(f"Preparing {path.name}: step 1 of 3, the tokenizer ...")
        tokenizer = AutoTokenizer.from_pretrained(**where)
        _report(f"Preparing {path.name}: step 2 of 3, the weights ...")
        model = AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        hint = "Run it with llm_llamacpp, or use the original model's folder or hub id with llm_transformers."
        raise unusable(path, f"transformers cannot read this GGUF file ({error})", hint) from error
    _report(f"Preparing {path.name}: step 3 of 3, writing ...")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _fingerprint(path: Path) -> str:
    """Identifies a file by size, beginning and end: reading a large one completely would take longer than loading it."""
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=6)
    with path.open("rb") as file:
        digest.update(file.read(SAMPLE))
        file.seek(max(0, size - SAMPLE))
        digest.update(file.read(SAMPLE))
    return digest.hexdigest()


def _remove_stale(folder: Path) -> None:
    for left in folder.glob(".preparing-*"):
        if time.time() - left.stat().st_mtime > STALE:
            shutil.rmtree(left, ignore_errors=True)


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
