"""Git repositories as tools, also hostile ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lanemesh import LanemeshError
from lanemesh_services.tools.git import ToolGit

from .conftest import error_of, loaded, value_of

_AUTHOR = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(folder: Path, *arguments: str) -> str:
    """Runs git."""
    ran = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **_AUTHOR}, check=True, capture_output=True, text=True
    )
    return ran.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits, a change and a new file."""
    folder = tmp_path / "root" / "mine"
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    for number, text in enumerate(("one\n", "one\ntwo\n"), 1):
        (folder / "a.txt").write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", f"Commit {number}")
    (folder / "a.txt").write_text("one\ntwo\nthree\n")
    (folder / "new.txt").write_text("new\n")
    return folder


@pytest.mark.parametrize("config", [{"root": ""}, {"root": None}, {"repoPath": ""}])
async def test_error_the_working_directory_is_no_default(
    repository: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    monkeypatch.chdir(repository)
    with pytest.raises(LanemeshError, match=r"config\.root is empty"):
        await loaded(ToolGit, **config)


async def test_happy_every_command(repository: Path) -> None:
    tools = await loaded(ToolGit, root=str(repository))

    status = await value_of(tools, "git_status")
    assert status.splitlines() == ["## main", " M a.txt", "?? new.txt"]
    log = await value_of(tools, "git_log")
    assert ["Commit 2" in log, "Commit 1" in log, "Ada" in log] == [True, True, True]
    assert "Commit 2" not in await value_of(tools, "git_log", text="commit 1")
    assert "Commit 1" not in await value_of(tools, "git_log", revision="HEAD~1..HEAD")
    assert "+three" in await value_of(tools, "git_diff")
    assert await value_of(tools, "git_diff", staged=True) == ""
    assert "+two" in await value_of(tools, "git_diff", revision="HEAD~1..HEAD", path="a.txt")
    assert "1 file changed" in await value_of(tools, "git_diff", stat=True)
    shown = await value_of(tools, "git_show")
    assert ["Commit 2" in shown, "+two" in shown] == [True, True]
    assert await value_of(tools, "git_show", revision="HEAD~1:a.txt") == "one\n"
    blame = await value_of(tools, "git_blame", path="a.txt", start=2, lines=1, revision="HEAD")
    assert ["Ada" in blame, "two" in blame, "one" in blame] == [True, True, False]
    assert await value_of(tools, "git_grep", pattern="t(wo|hree)", regex=True) == "a.txt:2:two\n"
    assert await value_of(tools, "git_grep", pattern="TWO", ignore_case=True, revision="HEAD") == "HEAD:a.txt:2:two\n"
    assert await value_of(tools, "git_grep", pattern="t(wo") == ""


async def test_happy_one_of_several_repositories(repository: Path) -> None:
    tools = await loaded(ToolGit, root=str(repository.parent))

    assert "## main" in await value_of(tools, "git_status", repository="mine")
    git(repository.parent, "clone", "-q", "--bare", "mine", "bare")
    assert "Commit 1" in await value_of(tools, "git_log", repository="bare")
    git(repository, "worktree", "add", "-q", "../beside")
    assert "## beside" in await value_of(tools, "git_status", repository="beside")
    assert "no Git repository at '.'" in (await error_of(tools, "git_status"))["error"]


HOOK = "{python} -c \"open('{mark}', 'w')\""


async def test_error_nothing_that_a_repository_configures_is_run(repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    run = HOOK.format(python=sys.executable, mark=mark)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{run}\ncat\n")
    program.chmod(0o755)
    for name in ("core.fsmonitor", "core.pager", "diff.external", "diff.x.command", "diff.x.textconv", "gpg.program"):
        git(repository, "config", name, str(program))
    for name in (
        "filter.x.clean",
        "filter.x.smudge",
        "filter.a.b.process",
        "core.sshCommand",
        "core.editor",
        "pager.log",
    ):
        git(repository, "config", name, str(program))
    git(repository, "config", "filter.x.required", "true")
    git(repository, "config", "log.showSignature", "true")
    git(repository, "config", "format.pretty", "%GG")
    hooks = repository / ".git" / "hooks"
    for hook in ("post-index-change", "pre-commit", "post-checkout", "fsmonitor-watchman"):
        (hooks / hook).write_text(program.read_text())
        (hooks / hook).chmod(0o755)
    included = tmp_path / "root" / "included"
    included.write_text(f'[filter "included"]\n\tclean = {program}\n\tprocess = {program}\n\trequired = true\n')
    git(repository, "config", "include.path", str(included))
    (repository / ".gitattributes").write_text("*.txt filter=x diff=x\nnew.* filter=included\nb* filter=a.b\n")
    config = repository / ".git" / "config"
    config.write_text(config.read_text() + f'\n[filter "p=q"]\n\tclean = {program}\n\tprocess = {program}\n')
    (repository / ".git" / "info" / "attributes").write_text("a.txt filter=p=q\n")
    os.utime(repository / "a.txt", (1, 1))
    tools = await loaded(ToolGit, root=str(repository))

    for name, arguments in (
        ("git_status", {}),
        ("git_log", {}),
        ("git_diff", {}),
        ("git_diff", {"revision": "HEAD~1"}),
        ("git_show", {}),
        ("git_show", {"revision": "HEAD:a.txt"}),
        ("git_blame", {"path": "a.txt"}),
        ("git_grep", {"pattern": "one"}),
    ):
        await value_of(tools, name, **arguments)
        assert not mark.exists(), (name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("git_show", {"revision": "--output=/tmp/x"}, "is not a revision"),
        ("git_log", {"revision": "-p"}, "is not a revision"),
        ("git_log", {"revision": "gone"}, "git log failed: fatal: bad revision 'gone'"),
        ("git_grep", {"pattern": "a", "revision": "--open-files-in-pager=sh"}, "is not a revision"),
        ("git_diff", {"path": "/etc/passwd"}, "outside the repository"),
        ("git_diff", {"path": "../../secret"}, "outside the repository"),
        ("git_blame", {"path": "--contents=/etc/passwd"}, "git blame failed"),
        ("git_status", {"repository": ".."}, "outside the root folder"),
        ("git_status", {"repository": "--upload-pack=x"}, "there is no"),
    ],
)
async def test_error_arguments_that_would_be_options_or_lead_outside(
    repository: Path, name: str, arguments: dict[str, Any], said: str
) -> None:
    assert said in (await error_of(await loaded(ToolGit, root=str(repository)), name, **arguments))["error"]


async def test_error_a_repository_that_reads_outside_its_root(repository: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    git(secret, "init", "-q")
    (secret / "key.txt").write_text("key\n")
    git(secret, "add", ".")
    git(secret, "commit", "-qm", "Secret")
    tools = await loaded(ToolGit, root=str(repository.parent))

    pointing = repository.parent / "pointing"
    pointing.mkdir()
    (pointing / ".git").write_text(f"gitdir: {secret}/.git")
    linked = repository.parent / "linked"
    linked.mkdir()
    (linked / ".git").symlink_to(secret / ".git")
    borrowing = repository / ".git" / "objects" / "info" / "alternates"
    borrowing.write_text(f"{secret}/.git/objects\n")
    for name in ("pointing", "linked", "mine"):
        assert "outside the root folder" in (await error_of(tools, "git_log", repository=name))["error"]
    borrowing.unlink()
    git(repository, "config", "core.worktree", str(secret))
    assert await value_of(tools, "git_grep", pattern="key", repository="mine") == ""


async def test_error_much_output_is_cut_and_a_slow_command_killed(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "large.txt").write_text("x" * 200 + "\n" * 100_000)
    git(repository, "add", ".")
    tools = await loaded(ToolGit, root=str(repository), max_bytes=1000)
    found = await value_of(tools, "git_grep", pattern="x*", regex=True)
    assert found.endswith("[only the first 1,000 bytes]")
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 100\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    tools = await loaded(ToolGit, root=str(repository), timeout=0.2)
    assert (await error_of(tools, "git_log"))["reason"] == "tool-timeout"


async def test_shutdown_a_cancelled_call_ends(repository: Path) -> None:
    tools = await loaded(ToolGit, root=str(repository))
    task = asyncio.create_task(value_of(tools, "git_log"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_error_more_settings_than_can_be_read_are_refused(repository: Path) -> None:
    config = repository / ".git" / "config"
    names = "".join(f"\tk{number:05}{'x' * 90} = 1\n" for number in range(12_000))
    config.write_text(config.read_text() + "[many]\n" + names)
    tools = await loaded(ToolGit, root=str(repository))
    assert "or are too many" in (await error_of(tools, "git_status"))["error"]


async def test_error_a_folder_that_is_a_link_is_not_followed(repository: Path, tmp_path: Path) -> None:
    (repository / "sub").mkdir()
    (repository / "sub" / "secret.txt").write_text("inside\n")
    git(repository, "add", "sub")
    git(repository, "commit", "-q", "-m", "sub")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("outside\n")
    shutil.rmtree(repository / "sub")
    (repository / "sub").symlink_to(outside)
    tools = await loaded(ToolGit, root=str(repository))
    assert await value_of(tools, "git_grep", pattern="outside") == ""
    assert "leads out of the repository" in (await error_of(tools, "git_blame", path="sub/secret.txt"))["error"]
