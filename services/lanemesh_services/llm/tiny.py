"""Generated models for tests of engines and meshes: they behave like real ones, but their text has no meaning.

A Llama of two layers with random weights, always the same ones, and a byte-pair tokenizer trained on a page of text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lanemesh_services.llm.transformers_model import quieten
from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.models import TINY_RANDOM, made

VERSION = 1
"""Incremented with every change of the models, so that no cached model of an earlier version is used."""
VOCABULARY = 512
WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 64, 2, 4, 2, 128, 2048
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = (
    "Once there was a river that ran from the hills to the sea. Every stone in it had a name, and every name was a word "
    "that the water said as it went by: lane, port, node, edge, token, stream, question, answer. People who lived by the "
    "river counted the days by its sound, and told their children why the sky is blue and how the rain comes down. "
) * 4


def tiny_gguf() -> Path:
    """The GGUF file of the tiny model, created if it is missing. Raises `EngineMissing` without the package gguf."""
    return made(f"{TINY_RANDOM}-{VERSION}.gguf", _write_gguf)


def tiny_folder() -> Path:
    """The folder of the tiny model for transformers, created if it is missing. Raises `EngineMissing` without torch."""
    return made(f"{TINY_RANDOM}-{VERSION}", _write_folder)


def _tokenizer() -> Any:
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except (ImportError, OSError) as error:
        raise import_failed("tokenizers", "the tiny random model", "transformers", error) from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    return tokenizer


def _write_folder(folder: Path) -> None:
    try:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    except (ImportError, OSError) as error:
        raise import_failed("transformers", "the tiny random model", "transformers", error) from error
    quieten()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(), bos_token=SPECIAL[0], eos_token=SPECIAL[2], pad_token=SPECIAL[0]
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        intermediate_size=FEED_FORWARD,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
    )
    # fork_rng: the caller's random numbers stay as they would have been.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_gguf(path: Path) -> None:
    try:
        import gguf
        import numpy as np
    except (ImportError, OSError) as error:
        raise import_failed("gguf", "the tiny random model", "transformers", error) from error
    import json

    vocabulary = json.loads(_tokenizer().to_str())["model"]
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].__getitem__)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(TINY_RANDOM)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in vocabulary["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    random = np.random.default_rng(0)
    for name, shape in _tensors(len(tokens)):
        norm = name.endswith("norm.weight")
        weights = np.ones(shape) if norm else random.normal(0, 0.02, shape)
        writer.add_tensor(name, weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(vocabulary: int) -> list[tuple[str, tuple[int, ...]]]:
    head = WIDTH // HEADS
    named: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (vocabulary, WIDTH))]
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        named += [
            (f"{block}attn_norm.weight", (WIDTH,)),
            (f"{block}attn_q.weight", (WIDTH, WIDTH)),
            (f"{block}attn_k.weight", (KV_HEADS * head, WIDTH)),
            (f"{block}attn_v.weight", (KV_HEADS * head, WIDTH)),
            (f"{block}attn_output.weight", (WIDTH, WIDTH)),
            (f"{block}ffn_norm.weight", (WIDTH,)),
            (f"{block}ffn_gate.weight", (FEED_FORWARD, WIDTH)),
            (f"{block}ffn_up.weight", (FEED_FORWARD, WIDTH)),
            (f"{block}ffn_down.weight", (WIDTH, FEED_FORWARD)),
        ]
    return [*named, ("output_norm.weight", (WIDTH,)), ("output.weight", (vocabulary, WIDTH))]
