"""Tiny models for tests: with another chat template, of another kind, or with a fixed output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

from lanemesh_services.llm import tiny

REFUSING = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A template that knows no system role and wants user and assistant to alternate."""
NEWLINE = "\u010a"
"""The last token of every prompt."""


def folder(path: Path, *, template: str = tiny.CHAT_TEMPLATE, says: Sequence[str] = ()) -> Path:
    """A folder for transformers. `says`: the tokens that it generates for every prompt."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with mock.patch.object(tiny, "CHAT_TEMPLATE", template):
        tiny._write_folder(path)
    if says:
        import torch

        model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
        ids = tokenizer.convert_tokens_to_ids([NEWLINE, *says])
        with torch.no_grad():
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            _lead(model.lm_head.weight.numpy(), model.model.embed_tokens.weight.numpy(), ids)
        model.save_pretrained(path)
    return path


def gguf_file(path: Path, *, template: str = tiny.CHAT_TEMPLATE, says: Sequence[str] = ()) -> Path:
    """The same as a GGUF file."""
    with mock.patch.object(tiny, "CHAT_TEMPLATE", template):
        tiny._write_gguf(path)
    if says:
        import gguf

        reader = gguf.GGUFReader(path, "r+")
        tensors = {tensor.name: tensor.data for tensor in reader.tensors}
        vocabulary = json.loads(tiny._tokenizer().to_str())["model"]["vocab"]
        for name, data in tensors.items():
            if "attn_output" in name or "ffn_down" in name:
                data[:] = 0
        ids = [vocabulary[token] for token in (NEWLINE, *says)]
        _lead(tensors["output.weight"], tensors["token_embd.weight"], ids)
        reader.data.flush()
    return path


def gguf_header(path: Path, architecture: str = "llama", *, tensors: int = 1, **values: Any) -> Path:
    """A GGUF file with metadata and small tensors, to be looked at and not loaded. None leaves an entry out."""
    import gguf
    import numpy

    entries = {"tokenizer.ggml.model": "gpt2", "tokenizer.chat_template": tiny.CHAT_TEMPLATE}
    entries |= {name.replace("__", "."): value for name, value in values.items()}
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in entries.items():
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif value is not None:
            writer.add_string(name, value)
    for number in range(tensors):
        writer.add_tensor(f"t{number}", numpy.zeros((64, 4), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _lead(head: Any, embedding: Any, ids: Sequence[int]) -> None:
    """Makes each token lead to the next one."""
    import numpy

    head[:] = 0
    for before, after in pairwise(ids):
        head[after] += 50 * embedding[before] / numpy.linalg.norm(embedding[before])
