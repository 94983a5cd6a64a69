"""Files with node types: loaded again when they, or what they import, have changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.server import node_files
from lanemesh.server.node_files import NodeFiles


def write(file: Path, value: str) -> None:
    file.write_text(
        f"from lanemesh import node\n\n@node\ndef version(text: str) -> str:\n    return {value}\n", encoding="utf-8"
    )


def version(files: NodeFiles) -> str:
    (service,) = files.services
    (found,) = service.nodes
    value: str = found.function("")  # type: ignore[attr-defined]
    return value


def test_an_edited_file_is_loaded_again_once(tmp_path: Path) -> None:
    file = tmp_path / "nodes.py"
    write(file, "'one'")
    files = NodeFiles([file])
    assert not files.refresh()
    write(file, "'number two'")
    assert files.refresh()
    assert version(files) == "number two"
    assert not files.refresh()


def test_a_module_beside_it_counts_too(tmp_path: Path) -> None:
    file, beside = tmp_path / "nodes.py", tmp_path / "beside.py"
    beside.write_text("VALUE = 'one'\n", encoding="utf-8")
    file.write_text(
        "from beside import VALUE\nfrom lanemesh import node\n\n@node\ndef version(text: str) -> str:\n    return VALUE\n",
        encoding="utf-8",
    )
    files = NodeFiles([file])
    beside.write_text("VALUE = 'number two'\n", encoding="utf-8")
    assert files.refresh()
    assert version(files) == "number two"


def test_a_file_that_cannot_be_loaded_keeps_what_there_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "nodes.py"
    write(file, "'one'")
    files = NodeFiles([file])
    write(file, "'one")
    for _ in range(2):
        with pytest.raises(LanemeshError, match="cannot be loaded: SyntaxError") as raised:
            files.refresh()
        files.report(raised.value)
    assert version(files) == "one"
    assert not files.is_current()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("the node types remain as they were before this edit")
    write(file, "'two'")
    assert files.refresh()
    assert version(files) == "two"


async def test_watched_files_are_loaded_when_they_have_come_to_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_files, "POLL_SECONDS", 0.02)
    file = tmp_path / "nodes.py"
    write(file, "'one'")
    files = NodeFiles([file])
    loaded, failed = asyncio.Event(), asyncio.Event()

    async def refresh() -> None:
        try:
            files.refresh()
        except LanemeshError:
            failed.set()
            raise
        loaded.set()

    watching = asyncio.create_task(files.watch(refresh))
    for number in range(3):
        write(file, f"'{'x' * number}two'")
    async with asyncio.timeout(10):
        await loaded.wait()
    assert version(files) == "xxtwo"
    loaded.clear()
    write(file, "'broken")
    async with asyncio.timeout(10):
        await failed.wait()
    write(file, "'three'")
    async with asyncio.timeout(10):
        await loaded.wait()
    assert version(files) == "three"
    watching.cancel()


async def test_a_watch_reports_an_unexpected_error_once_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_files, "POLL_SECONDS", 0.01)
    file = tmp_path / "nodes.py"
    write(file, "'one'")
    files = NodeFiles([file])
    tries = 0
    loaded = asyncio.Event()

    async def refresh() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("no threads")
        files.refresh()
        loaded.set()

    watching = asyncio.create_task(files.watch(refresh))
    write(file, "'number two'")
    async with asyncio.timeout(10):
        await loaded.wait()
    watching.cancel()
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"{file} cannot be watched: RuntimeError: no threads" in line
    assert version(files) == "number two"


def test_a_broken_file_is_run_once_and_again_when_a_missing_module_is_there(tmp_path: Path) -> None:
    file, runs = tmp_path / "nodes.py", tmp_path / "runs.txt"
    write(file, "'one'")
    files = NodeFiles([file])
    note = f"open({str(runs)!r}, 'a').write('run ')\n"
    write(file, "MARK")
    file.write_text(f"{note}from later_beside import MARK\n{file.read_text()}")
    for _ in range(3):
        with pytest.raises(LanemeshError, match="No module named 'later_beside'"):
            files.refresh()
        assert not files.have_changed()
    assert runs.read_text() == "run "
    (tmp_path / "later_beside.py").write_text("MARK = 'mark'\n")
    assert files.have_changed()
    assert files.refresh()
    assert (version(files), runs.read_text()) == ("mark", "run run ")
