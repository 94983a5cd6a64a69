"""What identifies the users of a model in the GPU reports of node servers, and the bounds of these reports."""

from __future__ import annotations

import hashlib

MAX_MODELS = 1_000
"""Most models of one report."""
MAX_SETTINGS = 64
"""Most node types with their configs that use one model."""
MAX_DEVICES = 64
"""Most devices of one report."""


def settings_digest(provider: str, config_json: str) -> str:
    """Identifies a node type with a config, for peers that both know: 32 hexadecimal digits.

    Args:
        provider: the node type.
        config_json: the config, as in `Instance.config_json`.
    """
    return hashlib.sha256(f"{provider}\0{config_json}".encode()).hexdigest()[:32]
