"""What a helper has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HelperActivity:
    """Counts of one helper in one run."""

    calls: int = 0
    """Calls that it was given."""
    active: int = 0
    """Calls that it answers right now."""
    failed: int = 0
    """Calls that ended with an error; one that its caller left early has not failed."""
    prompt_tokens: int = 0
    """Tokens of all prompts, where its model reports them."""
    completion_tokens: int = 0
    """Tokens of all answers, likewise."""
