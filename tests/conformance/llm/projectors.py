"""A projector of images for the tiny model, with random weights, and a small image."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from lanemesh_services.llm.tiny import WIDTH

VISION_WIDTH, FEED_FORWARD, LAYERS, HEADS, PATCH, SIDE = 32, 64, 2, 2, 14, 28


def write_projector(path: Path) -> Path:
    """Writes the file: a vision encoder of two layers, and a projection to the width of the tiny model."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    writer.add_string("clip.projector_type", "mlp")
    for name, value in {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": VISION_WIDTH,
        "feed_forward_length": FEED_FORWARD,
        "projection_dim": WIDTH,
        "block_count": LAYERS,
        "attention.head_count": HEADS,
    }.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    random = np.random.default_rng(0)
    for name, shape in _tensors().items():
        writer.add_tensor(name, random.normal(0, 0.02, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors() -> dict[str, tuple[int, ...]]:
    wide = (VISION_WIDTH,)
    shapes: dict[str, tuple[int, ...]] = {
        "v.class_embd": wide,
        "v.patch_embd.weight": (VISION_WIDTH, 3, PATCH, PATCH),
        "v.position_embd.weight": ((SIDE // PATCH) ** 2 + 1, VISION_WIDTH),
        "mm.0.weight": (WIDTH, VISION_WIDTH),
        "mm.0.bias": (WIDTH,),
        "mm.2.weight": (WIDTH, WIDTH),
        "mm.2.bias": (WIDTH,),
    }
    norms = ["v.pre_ln", "v.post_ln"]
    for layer in range(LAYERS):
        block = f"v.blk.{layer}."
        norms += [f"{block}ln1", f"{block}ln2"]
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            shapes |= {f"{block}{name}.weight": (VISION_WIDTH, VISION_WIDTH), f"{block}{name}.bias": wide}
        shapes |= {f"{block}ffn_up.weight": (FEED_FORWARD, VISION_WIDTH), f"{block}ffn_up.bias": (FEED_FORWARD,)}
        shapes |= {f"{block}ffn_down.weight": (VISION_WIDTH, FEED_FORWARD), f"{block}ffn_down.bias": wide}
    return shapes | {f"{name}.{part}": wide for name in norms for part in ("weight", "bias")}


def png(side: int = 4) -> bytes:
    """A red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
