"""Keeps libraries of models off standard error."""

from __future__ import annotations


def quieten() -> None:
    """Turns off warnings and progress bars of transformers and diffusers, as far as they are installed, for the whole process."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        from diffusers.utils import logging as diffusers_logging
    except ImportError:
        return
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
