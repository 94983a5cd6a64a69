"""A Git repository, read by the git program such that nothing that the repository configures is run or reaches outside of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from lanemesh.extend import CallFailed

from lanemesh_services.tools.folders import Folder
from lanemesh_services.tools.processes import Finished, run_program

MAX_SETTINGS = 1_000_000
"""Most bytes of the names of a repository's settings."""
_REVISION = re.compile(r"[\w./~^@{}:+ -]{1,500}")
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.pager": "cat",
    "core.sshCommand": "false",
    "core.askPass": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.quotePath": "false",
    "credential.helper": "",
    "diff.external": "",
    "diff.orderFile": "/dev/null",
    "blame.ignoreRevsFile": "",
    "gpg.program": "false",
    "gpg.ssh.program": "false",
    "gpg.x509.program": "false",
    "log.showSignature": "false",
    "mailmap.file": "/dev/null",
    "mailmap.blob": "",
    "protocol.allow": "never",
    "submodule.recurse": "false",
}
"""Settings that take precedence over those of the repository."""
_FILTER = re.compile(r"filter\.(?P<name>.+)\.(clean|smudge|process|required)", re.DOTALL)


class GitRepository:
    """A repository in a folder."""

    def __init__(self, program: str, work_tree: Path, git_dir: Path) -> None:
        self._program = program
        self._work_tree = work_tree
        self._git_dir = git_dir
        self._overridden: dict[str, str] | None = None

    @classmethod
    def at(cls, folder: Folder, path: str) -> GitRepository:
        """The repository whose working tree, or which itself if it is bare, is at a path below a root folder.

        Raises:
            CallFailed: there is none, or parts of it are outside the root folder.
        """
        program = shutil.which("git")
        if program is None:
            raise CallFailed("not-started", "git is not installed on the node server")
        tree = folder.existing(path)
        git_dir = _git_dir(tree)
        if git_dir is None:
            raise CallFailed("no-repository", f"there is no Git repository at {path!r:.200}")
        for part in _parts(git_dir):
            if not part.is_relative_to(folder.root):
                message = (
                    f"the repository at {path!r:.200} keeps a part of it outside the root folder. Use a root above both"
                )
                raise CallFailed("path-not-allowed", message)
        return cls(program, tree, git_dir)

    def check_link(self, path: str) -> None:
        """Raises CallFailed if a path of the working tree leads out of it through a link."""
        tree = self._work_tree.resolve()
        if not (tree / path).resolve().is_relative_to(tree):
            raise CallFailed("path-not-allowed", f"{path!r:.200} leads out of the repository")

    async def run(self, *arguments: str, timeout: float, limit: int) -> Finished:
        """Runs a git command that only reads. Raises CallFailed if it does not end in time."""
        if self._overridden is None:
            found = await self._git(["config", "--includes", "--name-only", "--null", "--list"], timeout, MAX_SETTINGS)
            if found.cut or found.code:
                raise CallFailed("git-failed", "the settings of the repository cannot be read, or are too many")
            self._overridden = _without_filters(found.output.decode("utf-8", "surrogateescape"))
        return await self._git([*arguments], timeout, limit)

    async def _git(self, arguments: list[str], timeout: float, limit: int) -> Finished:
        own = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        where = [f"--git-dir={self._git_dir}", f"--work-tree={self._work_tree}"]
        flags = ["--no-pager", "--no-replace-objects", "--no-optional-locks", "--literal-pathspecs"]
        return await run_program(
            [self._program, *flags, *where, *own, *arguments],
            folder=self._work_tree,
            environment={**_environment(), **_settings(self._overridden or {})},
            timeout=timeout,
            limit=limit,
        )


def checked_revision(revision: str) -> str:
    """A revision, a range or an object such as "HEAD~2:a.txt". Raises CallFailed if it could be an option."""
    if not _REVISION.fullmatch(revision) or revision.startswith("-"):
        raise CallFailed(
            "bad-arguments", f"{revision!r:.200} is not a revision. Use for example HEAD~2, a branch or a commit"
        )
    return revision


def checked_path(path: str) -> str:
    """A path in the repository, relative to it. Raises CallFailed if it leads out of it."""
    normal = os.path.normpath(path)
    if os.path.isabs(normal) or normal == ".." or normal.startswith("../") or "\0" in path or len(path) > 4096:
        raise CallFailed("path-not-allowed", f"{path!r:.200} is outside the repository. Use a path relative to it")
    return normal


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_PAGER": "cat",
    }


def _git_dir(tree: Path) -> Path | None:
    """The folder with the repository of a working tree, or of a bare repository; None if there is none."""
    inside = tree / ".git"
    if inside.is_dir():
        return inside.resolve()
    if inside.is_file():
        text = _small_text(inside)
        return (tree / text.removeprefix("gitdir:").strip()).resolve() if text.startswith("gitdir:") else None
    if (tree / "HEAD").is_file() and (tree / "objects").is_dir():
        return tree
    return None


def _parts(git_dir: Path) -> list[Path]:
    """The folders that a repository reads, resolved: itself, what it shares with others, and where it borrows objects."""
    parts = [git_dir]
    common = git_dir
    if (git_dir / "commondir").is_file():
        common = (git_dir / _small_text(git_dir / "commondir").strip()).resolve()
        parts.append(common)
    waiting = [(common / "objects").resolve()]
    while waiting and len(parts) < 100:
        objects = waiting.pop()
        parts.append(objects)
        borrowed = _small_text(objects / "info" / "alternates").splitlines()
        found = [(objects / line).resolve() for line in borrowed if line and not line.startswith("#")]
        waiting += [place for place in found if place not in parts]
    parts += [(common / name).resolve() for name in ("refs", "packed-refs", "HEAD", "config", "index", "logs")]
    parts += [(git_dir / name).resolve() for name in ("HEAD", "index", "config.worktree", "refs", "logs")]
    return parts


def _small_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(65_536).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _settings(values: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that override settings of Git. Unlike options, they take any name."""
    made = {"GIT_CONFIG_COUNT": str(len(values))}
    for number, (name, value) in enumerate(values.items()):
        made |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return made


def _without_filters(names: str) -> dict[str, str]:
    """Settings that disable every filter of content that the settings define: the names of these, separated by NUL."""
    filters = {match["name"] for name in names.split("\0") if (match := _FILTER.fullmatch(name))}
    values = (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
    return {f"filter.{name}.{key}": value for name in sorted(filters) for key, value in values}
