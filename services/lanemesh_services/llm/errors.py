"""The errors of language models. Each message has what, where and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lanemesh import Code, Fault, LanemeshError

from lanemesh_services.shared.errors import EngineMissing, GenerationRefused


class ModelTooLarge(LanemeshError):
    """A model, or its context, does not fit in the memory."""


class GenerationFailed(LanemeshError):
    """The engine failed during a generation, or was closed."""


def no_temp_folder(why: str) -> EngineMissing:
    """The engine cannot make its socket in the folder for temporary files."""
    return EngineMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="no-temp-folder",
            message=(
                f"llama.cpp cannot make its socket in the folder for temporary files: {why.rstrip('.')}. "
                "Set TMPDIR to a folder with free space that this user can write to."
            ),
        )
    )


def too_large(path: Path | str, needed: int, available: int, parts: str) -> ModelTooLarge:
    """A model needs more bytes than are available; `parts` lists their uses."""
    return ModelTooLarge(
        Fault(
            code=Code.RESOURCE_EXHAUSTED,
            reason="model-too-large",
            message=(
                f"The model {path} does not fit in memory: it needs about {_size(needed)} ({parts}), and "
                f"{_size(available)} is available. Free some memory, lower context_length or the number of concurrent "
                "conversations in the component's config, or use a smaller model."
            ),
            details={"model": str(path), "needed_bytes": str(needed), "available_bytes": str(available)},
        )
    )


def refused(field: str, why: str) -> GenerationRefused:
    """A field of a request is not supported."""
    return GenerationRefused(
        Fault(
            code=Code.INVALID_ARGUMENT,
            reason="generation-refused",
            message=f"The request to the model is invalid: {field} {why}.",
            details={"field": field},
        )
    )


def template_refuses(model: object, why: str) -> GenerationRefused:
    """A model's chat template cannot format a conversation, not even with the system turn merged into the user's."""
    hint = "check the roles and their order, or use a model whose template supports them"
    return refused(
        "messages", f'cannot be formatted by the chat template of {model}, which reports "{why:.300}"; {hint}'
    )


def not_followed(why: str) -> GenerationFailed:
    """An answer does not follow its schema."""
    hint = "Simplify the schema, or remove json_schema and use the text."
    return failed(
        f"the answer does not follow json_schema: {why}", hint, {"field": "json_schema", "problem": f"{why:.1000}"}
    )


def schema_problem(fault: Fault) -> str:
    """Why an answer does not follow its schema, by the fault of `not_followed`; empty if it is another one."""
    is_it = fault.reason == "generation-failed" and fault.details.get("field") == "json_schema"
    return fault.details.get("problem", "") if is_it else ""


def failed(
    why: str, hint: str = "Check the node server's log, then retry.", details: Mapping[str, str] = MappingProxyType({})
) -> GenerationFailed:
    """An engine failed."""
    return GenerationFailed(
        Fault(
            code=Code.INTERNAL,
            reason="generation-failed",
            message=f"The generation failed: {why.rstrip('.')}. {hint}",
            details=details,
        )
    )


def closed() -> GenerationFailed:
    """An engine was closed before or during a request."""
    return GenerationFailed(
        Fault(
            code=Code.UNAVAILABLE,
            reason="engine-closed",
            message="The model was unloaded. Its node server is stopping; start the run again.",
        )
    )


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def one_helper(component: str) -> LanemeshError:
    """A component has not exactly one model or agent."""
    message = (
        f"{component}: exactly one model or agent has to be connected. Add "
        f'"control": [{{"classType": "llm", "from": "{component}"}}] to a model, or the same with "agent" to an agent'
    )
    return LanemeshError(
        Fault(
            code=Code.INVALID_ARGUMENT, reason="model-not-connected", message=message, details={"component": component}
        )
    )
