"""`lanemesh new`: writes a small working node, pipeline or service with a test."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MAX_NAME = 60
_SUFFIX = ".template"
_NEXT = {
    "node": "Test it with: pytest {test}\nUse it with: lanemesh run PIPE --nodes {first}",
    "pipeline": "Test it with: pytest {test}\nRun it with: lanemesh run {first} --input hello",
    "service": "Test it with: pytest {folder}\nInstall it with: pip install -e {folder}\nServe it with: lanemesh node {name}",
}


def new(kind: str, name: str, folder: Path) -> ExitCode:
    """Writes the files of a `kind` (node, pipeline or service) called `name` into `folder`, and prints their paths.

    Raises:
        CommandError: the name is not one of a Python module, a file exists already, or one cannot be written.
    """
    module = name.replace("-", "_")
    known = module in sys.stdlib_module_names or keyword.iskeyword(module) or module.startswith("lanemesh")
    if not _NAME.fullmatch(module) or len(module) > _MAX_NAME or known:
        raise CommandError(
            f"{name} cannot be the name of a {kind}: use up to {_MAX_NAME} lower-case letters, digits and _, a letter first, and "
            "not the name of a module of Python or of Lanemesh. An example is my_" + kind + "."
        )
    target = folder / module if kind == "service" else folder
    values = {
        "name": module,
        "dashed": module.replace("_", "-"),
        "class_name": "".join(part.capitalize() for part in module.split("_")),
    }
    root = files("lanemesh_orchestrator.cli") / "templates" / kind
    texts = {
        target / path.replace("NAME", module): Template(text).substitute(values) for path, text in _templates(root)
    }
    if target.exists() and kind == "service":
        raise CommandError(f"{target} exists already. Choose another name, or another folder by --folder.")
    for path in texts:
        if path.exists() or path.is_symlink():
            raise CommandError(f"{path} exists already, and nothing was written. Choose another name, or --folder.")
    for path, text in texts.items():
        _write(path, text)
        print(path)
    test = next(path for path in texts if path.name.startswith("test_"))
    first = next(path for path in texts if path != test)
    print(_NEXT[kind].format(test=test, first=first, folder=target, name=module), file=sys.stderr)
    return ExitCode.COMPLETED


def _templates(folder: Traversable, prefix: str = "") -> list[tuple[str, str]]:
    """Path and text of each template, without its suffix."""
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _templates(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            found.append((prefix + entry.name.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")))
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
