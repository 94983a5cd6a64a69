"""The Python environments of services whose libraries clash with those of others: where they are, and how they are made."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.environment import Environment
from lanemesh.server.services import InstalledServices, service_names

COMPLETE = "complete"
"""The file in an environment that says that all its packages are installed."""
DIGITS = 12
"""Digits at the end of the name of an environment's folder, after the service."""

_FOLDER = re.compile(rf"(.+)-[0-9a-f]{{{DIGITS}}}", re.DOTALL)


def environments() -> dict[str, Environment]:
    """The services that have an environment of their own, by name. Services that cannot be imported are left out."""
    installed = InstalledServices()
    found: dict[str, Environment] = {}
    for name in service_names():
        try:
            environment = installed.load(name).environment
        except LanemeshError:
            continue
        if environment is not None:
            found[name] = environment
    return found


def environment_of(service: str) -> Environment | None:
    """The environment of a service; None if it runs in the running one.

    Raises:
        LanemeshError: there is no such service ("unknown-service"), or it cannot be imported ("bad-service").
    """
    environment = InstalledServices().load(service).environment
    return None if environment is None or environment.is_here() else environment


def interpreter_of(service: str) -> str:
    """The Python interpreter that runs the node server of a service: that of its environment, or the running one.

    Raises:
        LanemeshError: its environment has not been made ("environment-missing"), or those of `environment_of`.
    """
    environment = environment_of(service)
    if environment is None:
        return sys.executable
    folder = folder_of(service, environment)
    if not (folder / COMPLETE).is_file():
        raise _missing(service, environment)
    return str(_python(folder))


def folder_of(service: str, environment: Environment) -> Path:
    """The folder of an environment. Its name changes with the requirements, the version of Python and that of Lanemesh."""
    what = (environment.requirements, environment.constraints, sys.version_info[:3], _lanemesh())
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:DIGITS]
    return _base() / f"{service}-{digest}"


def create(service: str, report: Callable[[str], None]) -> Path:
    """Makes the environment of a service, unless it exists already. A concurrent call for the same service waits.

    Args:
        service: name of an installed service.
        report: called with each progress line.

    Returns:
        Its folder.

    Raises:
        LanemeshError: the service has none ("no-environment"), or pip failed ("environment-failed"); its output was reported.
    """
    environment = InstalledServices().load(service).environment
    if environment is None:
        names = ", ".join(environments()) or "none"
        raise _error(
            "no-environment", f"the service {service} has no environment of its own; those that have one: {names}"
        )
    folder = folder_of(service, environment)
    with _locked(folder):
        if (folder / COMPLETE).is_file():
            report(f"the environment of {service} exists: {folder}")
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        report(f"making {folder}")
        venv.create(folder, with_pip=True)
        _install(folder, environment, report)
        (folder / COMPLETE).touch()
    report(f"the environment of {service} is ready")
    return folder


def remove(service: str) -> bool:
    """Removes the environments of a service, those of other versions as well. Returns whether there was one."""
    base = _base()
    found = [folder for folder in base.iterdir() if _service_of(folder) == service] if base.is_dir() else []
    for folder in found:
        with _locked(folder):
            shutil.rmtree(folder)
    return bool(found)


def _service_of(folder: Path) -> str:
    """The service whose environment is in a folder, by its name; empty if it is no such folder."""
    match = _FOLDER.fullmatch(folder.name)
    return match[1] if match and folder.is_dir() else ""


def _install(folder: Path, environment: Environment, report: Callable[[str], None]) -> None:
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in environment.constraints))
    wanted = [*_lanemesh(), *environment.requirements]
    report(f"installing {' '.join(environment.requirements)}")
    command = [str(_python(folder)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    finished = subprocess.run(
        [*command, "--constraint", str(constraints), *wanted],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if finished.returncode:
        report(finished.stdout)
        what = f"pip could not install {' '.join(wanted)} into {folder}: it ended with code {finished.returncode}"
        raise _error(
            "environment-failed", f"{what}; its output is above. Check the network, then run the command again"
        )


def _lanemesh() -> tuple[str, ...]:
    """What pip installs to have this Lanemesh: its folder if it was installed from one, otherwise its version."""
    own = distribution("lanemesh")
    direct = json.loads(own.read_text("direct_url.json") or "{}")
    url = urlparse(direct.get("url", ""))
    if url.scheme != "file":
        return (f"lanemesh=={own.version}",)
    folder = url2pathname(url.path)
    return ("--editable", folder) if direct.get("dir_info", {}).get("editable") else (folder,)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _base() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            hint = "Set XDG_CACHE_HOME to the absolute path of a folder"
            raise _error(
                "environment-failed", f"there is no folder for environments: this user has no home. {hint}"
            ) from None
    return cache / "lanemesh" / "environments"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(folder.with_suffix(".lock"), "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise _error("environment-failed", f"{folder.parent} cannot be written: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _missing(service: str, environment: Environment) -> LanemeshError:
    needs = ", ".join(environment.requirements)
    return _error(
        "environment-missing",
        f"the service {service} runs in a Python environment of its own (it needs {needs}), which has not been made. "
        f"Make it once with: lanemesh env create {service}",
    )


def _error(reason: str, message: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=reason, message=message))
