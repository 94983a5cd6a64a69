"""The errors of agents."""

from __future__ import annotations

from collections.abc import Sequence

from lanemesh import Code, Fault, LanemeshError


def unmatched_approval(component: str, patterns: Sequence[str], tools: str) -> LanemeshError:
    """Patterns of `approve`, in quotes, refer to tools that are not there."""
    several = len(patterns) > 1
    message = (
        f"{component}: config.approve has the pattern{'s' if several else ''} {', '.join(patterns)}, which "
        f"match{'' if several else 'es'} no tool, so no call would wait for an approval. "
        f"Correct or remove {'them' if several else 'it'}; the tools: {tools}"
    )
    details = {"component": component, "field": "approve"}
    return LanemeshError(
        Fault(code=Code.INVALID_ARGUMENT, reason="unmatched-approval", message=message, details=details)
    )


def not_followed(component: str, problems: str) -> LanemeshError:
    """A structured answer breaks its schema, also after the model was asked again."""
    message = (
        f"{component}: the answer of its model does not follow the schema of the question, also at the second try: {problems}. "
        "Simplify the schema, describe it in the instructions, or use a model that supports schemas"
    )
    details = {"component": component}
    return LanemeshError(Fault(code=Code.INTERNAL, reason="schema-not-followed", message=message, details=details))
