"""The sources that feed themselves: `directory` and `timer`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Mesh
from lanemesh.faults import LanemeshError
from lanemesh.testing import run_node
from lanemesh_services.file.directory import Directory
from lanemesh_services.file.timer import Timer
from pydantic import ValidationError


def test_a_directory_sends_texts_media_and_other_files_of_its_first_pass(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# a")
    (tmp_path / "b.pdf").write_bytes(b"%PDF \xff")
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.txt").write_bytes("höhe".encode("latin-1"))
    sent = run_node(Directory, config={"path": str(tmp_path), "watch": False})
    assert [(one.source, one.content, one.file and one.file.mime_type) for one in sent.documents] == [
        ("a.md", "# a", None),
        ("b.pdf", "", "application/pdf"),
        ("sub/d.txt", "", "text/plain"),
    ]
    assert [one.mime_type for one in sent.image] == ["image/png"]


def test_a_large_file_comes_in_pieces_and_one_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(9 * 1024 * 1024))
    (tmp_path / "b.bin").write_bytes(bytes(10 * 1024 * 1024))
    config = {"path": str(tmp_path), "watch": False, "max_bytes": 9 * 1024 * 1024}
    sent = run_node(Directory, config=config)
    assert [one.source for one in sent.documents] == ["a.bin"] * 9
    assert sum(len(one.file.content) for one in sent.documents) == 9 * 1024 * 1024


@pytest.mark.parametrize("watchfiles", [True, False], ids=["watched", "polled"])
async def test_a_watched_directory_sends_what_comes_and_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, watchfiles: bool
) -> None:
    if not watchfiles:
        monkeypatch.setitem(sys.modules, "watchfiles", None)
    (tmp_path / "a.txt").write_text("a")
    config = {"path": str(tmp_path), "settle": 0, "interval": 0.05}
    pipe: dict[str, Any] = {
        "components": [
            {"id": "folder", "provider": "directory", "config": config},
            {"id": "out", "provider": "response", "input": [{"lane": "documents", "from": "folder"}]},
        ]
    }
    seen = []
    async with Mesh() as mesh, mesh.run(pipe) as run:
        async for value in run.values():
            seen.append((value.source, value.content))
            if len(seen) == 1:
                (tmp_path / "b.txt").write_text("b")
            elif len(seen) == 2:
                (tmp_path / "a.txt").write_text("changed")
            else:
                break
    assert seen == [("a.txt", "a"), ("b.txt", "b"), ("a.txt", "changed")]


def test_a_folder_that_is_none_and_one_with_too_many_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(LanemeshError) as caught:
        run_node(Directory, config={"path": str(tmp_path / "missing"), "watch": False})
    assert caught.value.fault.reason == "folder-unusable"
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(LanemeshError) as caught:
        run_node(Directory, config={"path": str(tmp_path), "watch": False, "max_files": 2})
    assert caught.value.fault.reason == "too-many-files"


def test_a_timer_sends_its_number_and_the_time_or_what_it_is_given() -> None:
    ticks = run_node(Timer, config={"every": 0.01, "count": 3})
    assert [tick["number"] for tick in ticks.data] == [1, 2, 3]
    given = run_node(Timer, config={"every": 0.01, "count": 2, "data": {"city": "Bonn"}, "text": "Report."})
    assert given.data == [{"city": "Bonn"}] * 2
    assert given.text == ["Report."] * 2


@pytest.mark.parametrize(
    "config",
    [{}, {"every": 1, "cron": "* * * * *"}, {"cron": "61 * * * *"}, {"every": 1, "timezone": "Mars/Base"}],
)
def test_a_timer_needs_exactly_one_kind_of_times(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        run_node(Timer, config=config)


async def test_a_run_of_a_pipeline_with_a_chat_leaves_the_timer_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    pipe = {
        "components": [
            {"id": "tick", "provider": "timer", "config": {"every": 0.01, "count": 1, "data": 1}},
            {"id": "ticked", "provider": "response", "input": [{"lane": "data", "from": "tick"}]},
            {"id": "chat", "provider": "chat"},
            {"id": "said", "provider": "response", "input": [{"lane": "text", "from": "chat"}]},
        ]
    }
    async with Mesh() as mesh:
        assert (await mesh.run(pipe, input="hello").result()).values == ("hello",)
        assert (await mesh.run(pipe, source="tick").result()).values == (1,)


async def test_a_schedule_that_is_not_valid_is_one_sentence_before_the_run_starts() -> None:
    pipe = {
        "components": [
            {"id": "tick", "provider": "timer", "config": {"cron": "61 * * * *"}},
            {"id": "out", "provider": "response", "input": [{"lane": "data", "from": "tick"}]},
        ]
    }
    async with Mesh() as mesh:
        result = await mesh.run(pipe).result()
    assert result.error is not None
    assert result.error.reason == "bad-config"
    assert result.error.message.startswith('tick: config: the schedule "61 * * * *" is not valid: the minute "61"')
    assert "`lanemesh nodes timer` lists the settings" in result.error.message
