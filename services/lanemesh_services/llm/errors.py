"""The errors of language models. Each message has what, where and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lanemesh import Code, Fault, LanemeshError


class ModelMissing(LanemeshError):
    """The files of a model are missing."""


class ModelUnusable(LanemeshError):
    """The files of a model exist, but the engine cannot use them."""


class ModelTooLarge(LanemeshError):
    """A model, or its context, does not fit in the memory."""


class EngineMissing(LanemeshError):
    """The library that runs the model is not installed, or this host cannot run it."""


class GenerationRefused(LanemeshError):
    """A request is not supported by this model or engine."""


class GenerationFailed(LanemeshError):
    """The engine failed during a generation, or was closed."""


def package_missing(name: str, package: str) -> ModelMissing:
    """The Python package of a known model is not installed."""
    return ModelMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="model-missing",
            message=(
                f'The model "{name}" is not installed: there is no Python package {package} in this environment. '
                f"Install it once with: lanemesh models get {name}"
            ),
            details={"model": name, "package": package},
        )
    )


def install_failed(name: str, requirement: str, code: int) -> ModelMissing:
    """pip failed to install a model's package, with this code."""
    return ModelMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="model-install-failed",
            message=(
                f"pip could not install {requirement} into {sys.prefix}: it ended with code {code}; standard error has the "
                f"cause. Check the network and the permissions of that folder, then run again: lanemesh models get {name}"
            ),
            details={"model": name, "package": requirement},
        )
    )


def unknown_model(name: str, known: tuple[str, ...]) -> ModelMissing:
    """A model is neither a file, nor a folder, nor a known name."""
    return ModelMissing(
        Fault(
            code=Code.NOT_FOUND,
            reason="model-missing",
            message=(
                f'There is no model "{name}": it is neither a file or folder here nor a known name '
                f"({', '.join(known)}). Give the path of a model, or install a known one with: lanemesh models get {known[0]}"
            ),
            details={"model": name},
        )
    )


def library_missing(library: str, provider: str, extra: str) -> EngineMissing:
    """The library that an engine needs is not installed."""
    return EngineMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="engine-missing",
            message=(
                f"{provider} needs the Python library {library}, which is not installed in this environment. "
                f"Install it with: pip install 'lanemesh[{extra}]'"
            ),
            details={"library": library, "extra": extra},
        )
    )


def import_failed(library: str, provider: str, extra: str, error: BaseException) -> EngineMissing:
    """The library that an engine needs cannot be imported: it, or a module that it needs, is missing or broken."""
    name = getattr(error, "name", None) or library
    return not_imported(library, provider, extra, kind=type(error).__name__, name=name, message=str(error))


def not_imported(library: str, provider: str, extra: str, *, kind: str, name: str, message: str) -> EngineMissing:
    """The same from the name of an error's class, the module that it names, and its text."""
    if kind == "ModuleNotFoundError":
        return library_missing(name or library, provider, extra)
    return EngineMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="engine-unusable",
            message=(
                f"{provider} cannot import the Python library {library}, which is installed: {kind}: {message.rstrip('.')}. "
                "Install the missing part (libgomp.so.1 is in Debian's package libgomp1), or install the library "
                f"again with: pip install --force-reinstall 'lanemesh[{extra}]'"
            ),
            details={"library": library, "extra": extra},
        )
    )


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


def unusable(path: Path | str, why: str, hint: str) -> ModelUnusable:
    """A model's files cannot be used; `hint` describes the remedy."""
    return ModelUnusable(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="model-unusable",
            message=f"The model {path} cannot be used: {why}. {hint}",
            details={"model": str(path)},
        )
    )


def no_cache(why: str) -> ModelUnusable:
    """The folder for prepared models cannot be created, or this user has none."""
    return ModelUnusable(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="cache-unusable",
            message=(
                f"The folder for prepared models cannot be used: {why}. Set XDG_CACHE_HOME to the absolute path of a "
                "folder that can be written, or HOME."
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
