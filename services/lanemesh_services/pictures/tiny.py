"""Generated models of images for tests: they behave like real ones, but what they make and say has no meaning.

The weights are random and always the same.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.models import TINY_RANDOM, made

VERSION = 1
"""Incremented with every change of the models, so that no cached model of an earlier version is used."""
START, END = "<|startoftext|>", "<|endoftext|>"
LABELS = ("apple", "bridge", "cloud", "door")
"""What the classifier knows."""


def tiny_diffusion() -> Path:
    """The folder of a tiny latent diffusion pipeline for diffusers (2 MB), created if it is missing.

    Raises `EngineMissing` without diffusers.
    """
    return made(f"{TINY_RANDOM}-diffusion-{VERSION}", _write_diffusion)


def tiny_classifier() -> Path:
    """The folder of a tiny vision transformer for transformers, created if it is missing. Raises `EngineMissing` without torch."""
    return made(f"{TINY_RANDOM}-classifier-{VERSION}", _write_classifier)


def _write_diffusion(folder: Path) -> None:
    try:
        import torch
        from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel
    except (ImportError, OSError) as error:
        raise import_failed("diffusers", "the tiny random model", "image-models", error) from error
    tokenizer = _tokenizer()
    end = tokenizer.convert_tokens_to_ids(END)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                bos_token_id=tokenizer.convert_tokens_to_ids(START),
                eos_token_id=end,
                pad_token_id=end,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=8,
        )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(steps_offset=1, timestep_spacing="leading"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _tokenizer() -> Any:
    """A tokenizer whose tokens are characters."""
    from transformers import CLIPTokenizer

    characters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = [*characters, *(f"{character}</w>" for character in characters), START, END]
    return CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[], model_max_length=77)


def _write_classifier(folder: Path) -> None:
    try:
        import torch
        from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor
    except (ImportError, OSError) as error:
        raise import_failed("transformers", "the tiny random model", "image-models", error) from error
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ViTForImageClassification(config)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
