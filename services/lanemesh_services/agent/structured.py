"""Structured answers: what is wrong with one, and what the model is asked then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanemesh import LanemeshError

from lanemesh_services.llm.errors import schema_problem
from lanemesh_services.llm.schemas import AnswerSchema
from lanemesh_services.shared.errors import GenerationRefused

MAX_PROBLEMS = 5
"""Most problems of one answer of which the model reads."""
MAX_CHARACTERS = 300
"""Most characters of one problem."""


def problems_of(text: str, schema: Mapping[str, Any]) -> str:
    """Why a whole answer does not follow its schema; empty if it does, or if the schema cannot be checked."""
    try:
        found = AnswerSchema.of(schema).problems(text, MAX_PROBLEMS)
    except GenerationRefused:
        return ""
    return "; ".join(problem[:MAX_CHARACTERS] for problem in found)


def problem_in(error: LanemeshError) -> str:
    """The same if a model has checked its answer itself, and failed; empty if it failed for another reason."""
    return schema_problem(error.fault)[: MAX_PROBLEMS * MAX_CHARACTERS]


def repair_request(problems: str) -> str:
    """What the model is asked after an answer that does not follow the schema."""
    return (
        f"Your answer does not follow its JSON schema: {problems}. "
        "Give the whole answer again, as JSON that follows the schema, and nothing else."
    )
