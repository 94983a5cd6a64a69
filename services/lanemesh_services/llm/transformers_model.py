"""Models of transformers: loads them, and starts their continuous batch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lanemesh import LanemeshError

from lanemesh_services.llm import memory
from lanemesh_services.shared.errors import import_failed, unknown_model, unusable
from lanemesh_services.shared.models import CATALOGUE

_GENERATING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Suffixes of the classes of models that generate text."""
PAGE_TOKENS = 32
"""Tokens of one page of the key-value cache."""
BATCH_TOKENS = 256
"""Maximum number of tokens in one step: longer prompts are read in several steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersOptions:
    """The options that distinguish loaded models."""

    model: str
    """A folder, or a hub id such as "owner/name"."""
    context_length: int = 2048
    """Maximum number of tokens of one conversation, including the answer."""
    cache_tokens: int | None = None
    """Maximum number of tokens of all conversations; None: four times the context, on a GPU as many as fit."""
    device: str = "auto"
    """"cpu", "cuda", "cuda:1" ...; "auto": a GPU if there is one."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the weights; "auto": as they were saved."""
    threads: int | None = None
    """Number of CPU threads of the process; None: half of the CPUs."""


def quieten() -> None:
    """Keeps the warnings and progress bars of transformers off standard error, for the whole process."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_batch(options: TransformersOptions) -> tuple[Any, Any, Any]:
    """Loads a model; returns the manager of its batch, the router of its outputs, and its tokenizer. Blocks.

    Raises as `TransformersEngine.load` does.
    """
    try:
        import torch
        import transformers
    except (ImportError, OSError) as error:
        raise import_failed("torch or transformers", "llm_transformers", "transformers", error) from error
    quieten()
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(options.threads or max(1, (os.cpu_count() or 1) // 2))
    with _load_errors(options.model):
        config = transformers.AutoConfig.from_pretrained(options.model)
        _check_kind(transformers, options.model, config)
        _check(torch, options, config, device)
        tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
        _check_template(options.model, tokenizer)
        model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=options.dtype)
        manager, deliveries = _start(model.to(device), options, tokenizer, device)
    return manager, deliveries, tokenizer


def _start(model: Any, options: TransformersOptions, tokenizer: Any, device: str) -> tuple[Any, Any]:
    """Starts the continuous batch; returns its manager and the router of its outputs."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    from lanemesh_services.llm.batching import Deliveries, sampling_processors

    end = end_tokens(model.generation_config.eos_token_id) or end_tokens(tokenizer.eos_token_id)
    generation = GenerationConfig(
        do_sample=False,  # our processors leave one token
        eos_token_id=list(end) or -1,
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    pages = None if options.cache_tokens is None and device != "cpu" else _cache_tokens(options) // PAGE_TOKENS
    batching = ContinuousBatchingConfig(
        num_blocks=pages, page_size=PAGE_TOKENS, max_batch_tokens=BATCH_TOKENS, max_memory_percent=0.8
    )
    manager = model.init_continuous_batching(generation, batching)
    manager.logit_processor = sampling_processors()
    manager.output_router = deliveries = Deliveries()
    # The manager's thread is a daemon only if a daemon starts it; exit would wait for any other.
    starter = threading.Thread(target=manager.start, name="transformers-start", daemon=True)
    starter.start()
    starter.join()
    return manager, deliveries


def _cache_tokens(options: TransformersOptions) -> int:
    """Tokens in the key-value cache on a CPU: at least one whole conversation, otherwise a long one would fail the batch."""
    wanted = options.cache_tokens or 4 * options.context_length
    whole = options.context_length + 2 * PAGE_TOKENS
    return -(-max(wanted, whole) // PAGE_TOKENS) * PAGE_TOKENS


def end_tokens(eos: int | list[int] | None) -> tuple[int, ...]:
    """The tokens that end a text, by the config."""
    if eos is None:
        return ()
    return (eos,) if isinstance(eos, int) else tuple(eos)


def _check_kind(transformers: Any, model: str, config: Any) -> None:
    """Raises `ModelUnusable` for a model that does not generate text token by token."""
    hint = "Use a causal language model that was trained to chat."
    if (Path(model) / "modules.json").is_file() or (Path(model) / "config_sentence_transformers.json").is_file():
        raise unusable(model, "it is an embedding model, not a language model", hint)
    causal = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    if config.is_encoder_decoder or type(config) not in causal:
        raise unusable(model, f"it is not a language model for chat ({config.model_type})", hint)
    declared = config.architectures or []
    known = causal[type(config)]
    names = {kind.__name__ for kind in (known if isinstance(known, tuple) else (known,))}
    if declared and not any(name in names or name.endswith(_GENERATING) for name in declared):
        raise unusable(model, f"it is an embedding or encoder model ({declared[0]}), not a language model", hint)
    if type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise unusable(model, f"it only encodes or embeds text ({config.model_type})", hint)


def _check_template(model: str, tokenizer: Any) -> None:
    """Raises `ModelUnusable` if there is no chat template, or one that cannot format a single turn of a user."""
    if not tokenizer.chat_template:
        why = "it has no chat template, so it is not a chat model"
        raise unusable(model, why, "Use the variant that was trained to chat, often called Instruct.")
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], add_generation_prompt=True, tokenize=False)
    except Exception as error:  # templates are code and can raise any exception
        why = f"its chat template is invalid ({_first_line(error)})"
        raise unusable(model, why, "Correct it, or use another model.") from None


def _check(torch: Any, options: TransformersOptions, config: Any, device: str) -> None:
    text = config.get_text_config()
    limit = getattr(text, "max_position_embeddings", None)
    if limit is not None and options.context_length > limit:
        hint = f"Set context_length to {limit} or less."
        raise unusable(options.model, f"its limit is {limit} tokens, not for {options.context_length}", hint)
    folder = Path(options.model)
    files = [*folder.glob("*.safetensors")] or [*folder.glob("*.bin")]
    weights = sum(file.stat().st_size for file in files)
    kv_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache = 2 * 2 * text.num_hidden_layers * kv_heads * head * _cache_tokens(options)
    available = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else None
    memory.check_fits(options.model, weights, cache, available=available)


@contextmanager
def _load_errors(model: str) -> Iterator[None]:
    """Converts the exceptions of transformers during loading into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if not Path(model).is_dir():
            raise unknown_model(model, tuple(CATALOGUE)) from error
        hint = "Give a folder that `save_pretrained` wrote, or a GGUF file."
        raise unusable(model, f"transformers cannot load it ({_first_line(error)})", hint) from error
    except LanemeshError:
        raise
    except Exception as error:  # the libraries have errors of their own, such as that of a damaged file
        hint = "Use a causal language model that this version of transformers supports."
        raise unusable(model, f"transformers cannot load it ({_first_line(error)})", hint) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
