"""The files of a folder as tools."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.permissions import Permissions
from lanemesh.values import Image
from lanemesh_services.tools.files import ToolFiles

from .conftest import error_of, loaded, result_of, value_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files, beside a secret one."""
    root = tmp_path / "root"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("one\ntwo\nthree\n")
    (root / "src" / "b.py").write_text("print('Two')\n")
    (root / "src" / "deep" / "c.py").write_text("two = 2\n")
    (root / "picture.png").write_bytes(b"\x89PNG")
    (root / "binary").write_bytes(b"a\0two")
    (root / ".env").write_text("SECRET=two")
    (tmp_path / "secret.txt").write_text("two outside")
    (root / "link").symlink_to(tmp_path / "secret.txt")
    (root / "folder_link").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    return root


def tree(folder: Path) -> list[Path]:
    """Everything in a folder."""
    return sorted(folder.rglob("*"))


async def test_happy_list_read_and_search(root: Path) -> None:
    tools = await loaded(ToolFiles, root=str(root))

    assert [spec.name for spec in await tools.specs()] == ["list_files", "read_file", "search_files"]
    listed = await value_of(tools, "list_files")
    assert {"path": "a.txt", "type": "file", "bytes": 14} in listed["entries"]
    assert {"path": "src", "type": "folder"} in listed["entries"]
    assert {"path": "link", "type": "link"} in listed["entries"]
    assert not listed["more"]
    found = await value_of(tools, "list_files", pattern="*.py", recursive=True, limit=1)
    assert (found["entries"], found["more"]) == ([{"path": "src/b.py", "type": "file", "bytes": 13}], True)
    read = await value_of(tools, "read_file", path="a.txt", start=2, lines=1)
    assert read == {"path": "a.txt", "text": "two\n", "start": 2, "end": 2, "more": True}
    assert (await value_of(tools, "read_file", path=str(root / "a.txt"), start=3))["more"] is False
    matches = (await value_of(tools, "search_files", text="two"))["matches"]
    assert matches == [
        {"path": "a.txt", "line": 2, "text": "two"},
        {"path": "src/deep/c.py", "line": 1, "text": "two = 2"},
    ]
    found = await value_of(tools, "search_files", text="TWO", ignore_case=True, path="src", pattern="b*", limit=1)
    assert [match["path"] for match in found["matches"]] == ["src/b.py"]


async def test_happy_an_image_is_a_part(root: Path) -> None:
    result = await result_of(await loaded(ToolFiles, root=str(root)), "read_file", path="picture.png")
    assert result.parts == (Image("image/png", b"\x89PNG"),)


async def test_happy_writing_where_it_is_permitted(root: Path) -> None:
    tools = await loaded(ToolFiles, root=str(root), write=True)

    await value_of(tools, "write_file", path="new/d.txt", text="first\n")
    await value_of(tools, "write_file", path="new/d.txt", text="second\n", append=True)
    assert await value_of(tools, "edit_file", path="new/d.txt", old="second", new="2nd") == {
        "path": "new/d.txt",
        "line": 2,
    }
    assert (root / "new" / "d.txt").read_text() == "first\n2nd\n"
    assert [path.name for path in (root / "new").iterdir()] == ["d.txt"]
    assert "has the text 0 times" in (await error_of(tools, "edit_file", path="new/d.txt", old="x", new=""))["error"]


async def test_happy_changes_of_a_file_at_the_same_time_are_all_kept(root: Path) -> None:
    components = [await loaded(ToolFiles, root=str(root), write=True) for _ in range(2)]
    names = [f"item {number}\n" for number in range(100)]
    (root / "list.txt").write_text("".join(names))

    edits = (
        value_of(components[number % 2], "edit_file", path="list.txt", old=name, new=name.upper())
        for number, name in enumerate(names)
    )
    more = (value_of(component, "write_file", path="new.txt", text="x", append=True) for component in components * 50)
    await asyncio.gather(*edits, *more)

    assert (root / "list.txt").read_text() == "".join(names).upper()
    assert (root / "new.txt").read_text() == "x" * 100


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../secret.txt", "outside the root folder"),
        ("src/../../secret.txt", "outside the root folder"),
        ("link", "outside the root folder"),
        ("folder_link/secret.txt", "outside the root folder"),
        ("/etc/passwd", "there is no '/etc/passwd' below the root folder"),
        (".env", "is hidden"),
        ("src/../.env", "is hidden"),
        ("gone", "there is no 'gone' below the root folder"),
        ("loop", "cannot be resolved"),
        ("pipe", "pipe is not a file"),
        ("src", "src is not a file"),
        ("binary", "binary is not a text file; it has 5 bytes"),
        ("a\0b", "NUL"),
        ("x" * 5000, "at most 4096 characters"),
        ("x" * 300, "there is no"),
    ],
)
async def test_error_a_path_that_cannot_be_read(root: Path, path: str, said: str) -> None:
    assert said in (await error_of(await loaded(ToolFiles, root=str(root)), "read_file", path=path))["error"]


@pytest.mark.parametrize("path", ["../new.txt", "link", "folder_link/new.txt", ".env", ".git/hooks/x", "src", "/../x"])
async def test_error_a_path_that_cannot_be_written(root: Path, tmp_path: Path, path: str) -> None:
    tools = await loaded(ToolFiles, root=str(root), write=True)
    before = tree(tmp_path)

    await error_of(tools, "write_file", path=path, text="mine")

    assert tree(tmp_path) == before
    assert (tmp_path / "secret.txt").read_text() == "two outside"


async def test_error_writing_needs_the_settings_and_the_permission_of_the_node_server(root: Path) -> None:
    tools = await loaded(ToolFiles, root=str(root))
    with pytest.raises(LanemeshError, match='there is no tool "write_file"'):
        await result_of(tools, "write_file", path="a.txt", text="")
    tools = await loaded(ToolFiles, root=str(root), write=True, permissions=Permissions.of([]))
    with pytest.raises(LanemeshError, match=r"does not permit it to write files.*lanemesh node --allow write"):
        await tools.specs()


async def test_error_a_large_file_is_read_in_parts(root: Path) -> None:
    (root / "large.txt").write_text("".join(f"line {number}\n" for number in range(100_000)))
    (root / "wide.txt").write_text("x" * 5_000_000 + "\nend\n")
    tools = await loaded(ToolFiles, root=str(root), max_bytes=1000)

    first = await value_of(tools, "read_file", path="large.txt")
    assert (len(first["text"]) <= 1000, first["more"]) == (True, True)
    later = await value_of(tools, "read_file", path="large.txt", start=99_999)
    assert (later["text"], later["end"], later["more"]) == ("line 99998\nline 99999\n", 100_000, False)
    assert "has only 100000 lines" in (await error_of(tools, "read_file", path="large.txt", start=100_001))["error"]
    wide = await value_of(await loaded(ToolFiles, root=str(root)), "read_file", path="wide.txt")
    assert (len(wide["text"]) < 3000, wide["text"].endswith("...\nend\n")) == (True, True)


async def test_happy_lines_have_the_same_numbers_in_all_tools(root: Path) -> None:
    (root / "odd.txt").write_bytes("one\ftwo\x0bthree\r\nfour\u2028five\rsix\n\nhere\n".encode())
    tools = await loaded(ToolFiles, root=str(root), write=True)

    (found,) = (await value_of(tools, "search_files", text="here", path="odd.txt"))["matches"]
    assert (await value_of(tools, "read_file", path="odd.txt", start=found["line"]))["text"] == "here\n"
    assert (await value_of(tools, "edit_file", path="odd.txt", old="here", new="there"))["line"] == found["line"]


async def test_error_a_line_is_cut_at_the_most_bytes_of_a_call(root: Path) -> None:
    (root / "lines.txt").write_text("é" * 1_500 + "\n" + "é" * 499 + "\nend\n", encoding="utf-8")
    (root / "faces.txt").write_text("😀" * 3_000 + "\nend\n", encoding="utf-8")
    tools = await loaded(ToolFiles, root=str(root), max_bytes=1_000)

    first = await value_of(tools, "read_file", path="lines.txt")
    assert (first["text"], first["end"], first["more"]) == ("é" * 498 + "...\n", 1, True)
    second = await value_of(tools, "read_file", path="lines.txt", start=2)
    assert (second["text"], second["end"], second["more"]) == ("é" * 499 + "\n", 2, True)
    last = await value_of(tools, "read_file", path="lines.txt", start=3)
    assert (last["text"], last["end"], last["more"]) == ("end\n", 3, False)
    faces = await value_of(await loaded(ToolFiles, root=str(root)), "read_file", path="faces.txt")
    assert faces["text"] == "😀" * 2_000 + "...\nend\n"


@pytest.mark.parametrize(
    ("root", "said"), [("gone", "cannot be opened"), ("a.txt", "is not a folder"), ("\0", "cannot")]
)
async def test_error_a_root_that_is_no_folder(tmp_path: Path, root: str, said: str) -> None:
    (tmp_path / "a.txt").touch()
    config: dict[str, Any] = {"root": root if root == "\0" else str(tmp_path / root)}
    with pytest.raises(LanemeshError, match=f"tool_files: config.root .*{said}"):
        await loaded(ToolFiles, **config)
