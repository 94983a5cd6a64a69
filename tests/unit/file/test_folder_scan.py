"""Which files of a folder are sent, and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from lanemesh_services.file.folder_scan import FolderScan, Rules, TooManyFiles
from lanemesh_services.shared.open_below import open_below


def scan(
    folder: Path, *globs: str, clock: Callable[[], float] = lambda: 0.0, settle: float = 0.0, **rules: object
) -> FolderScan:
    found = Rules(globs or ("*",), **rules)  # type: ignore[arg-type]
    return FolderScan(folder.resolve(), found, settle=settle, clock=clock)


def take_all(scanned: FolderScan) -> list[str]:
    found = scanned.changed()
    for path, version in found:
        scanned.take(path, version)
    return [path for path, _ in found]


def test_each_version_of_a_file_is_found_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "sub" / "a.txt").write_text("a")
    scanned = scan(tmp_path)
    assert take_all(scanned) == ["b.txt", "sub/a.txt"]
    assert take_all(scanned) == []
    (tmp_path / "b.txt").write_text("changed")
    assert take_all(scanned) == ["b.txt"]
    (tmp_path / "b.txt").unlink()
    assert take_all(scanned) == []
    (tmp_path / "b.txt").write_text("changed")
    assert take_all(scanned) == ["b.txt"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(["*"]), {"a.md", "sub/b.md", "sub/deep/c.txt"}),
        (Rules(["*.md"]), {"a.md", "sub/b.md"}),
        (Rules(["sub/**"]), {"sub/b.md", "sub/deep/c.txt"}),
        (Rules(["**/*.md"]), {"a.md", "sub/b.md"}),
        (Rules(["*"], exclude=["*.txt"]), {"a.md", "sub/b.md"}),
        (Rules(["*.md"], hidden=True), {"a.md", "sub/b.md", ".git/d.md"}),
    ],
)
def test_patterns_and_hidden_files(rules: Rules, expected: set[str]) -> None:
    paths = ("a.md", "sub/b.md", "sub/deep/c.txt", ".git/d.md")
    assert {path for path in paths if rules.match(PurePosixPath(path))} == expected


def test_files_of_folders_count_only_if_it_is_recursive(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    assert take_all(scan(tmp_path, recursive=False)) == []


def test_links_out_of_the_folder_pipes_and_folders_are_left_out(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside.txt", tmp_path / "folder"
    outside.write_text("secret")
    inside.mkdir()
    (inside / "out").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "real.txt").write_text("x")
    (inside / "in").symlink_to(inside / "real.txt")
    os.mkfifo(inside / "pipe")
    assert take_all(scan(inside)) == ["in", "real.txt"]


def test_a_link_that_takes_the_place_of_a_file_or_its_folder_is_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "in"
    for place in (outside, folder, folder / "sub"):
        place.mkdir()
        (place / "a.txt").write_text("secret" if place == outside else "mine")
    scanned = scan(folder)
    assert take_all(scanned) == ["a.txt", "sub/a.txt"]

    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(outside / "a.txt")
    (folder / "sub" / "a.txt").unlink()
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(outside)

    for path in ("a.txt", "sub/a.txt"):
        with pytest.raises(OSError, match="a link leads out of the folder"):
            scanned.read(path, 100)
    (folder / "b.txt").write_text("mine")
    (folder / "c.txt").symlink_to("b.txt")
    assert scanned.read("c.txt", 100) == b"mine"


def test_a_path_that_was_resolved_is_opened_without_links(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "link").symlink_to("sub")
    (tmp_path / "a.txt").symlink_to("sub/a.txt")

    os.close(open_below(tmp_path, tmp_path / "sub" / "a.txt"))
    for path in ("link/a.txt", "a.txt"):
        with pytest.raises(OSError):  # noqa: PT011 - the number of the error depends on the system
            open_below(tmp_path, tmp_path / path)
    with pytest.raises(ValueError, match="subpath"):
        open_below(tmp_path / "sub", tmp_path / "a.txt")


def test_a_file_that_is_being_written_waits_until_it_has_settled(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    written = (tmp_path / "a.txt").stat().st_mtime
    early = scan(tmp_path, clock=lambda: written + 0.1, settle=0.5)
    assert take_all(early) == []
    assert early.unsettled
    late = scan(tmp_path, clock=lambda: written + 0.6, settle=0.5)
    assert take_all(late) == ["a.txt"]
    assert not late.unsettled


def test_a_file_whose_time_is_in_the_future_settles_while_it_is_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    times = iter([100.0, 100.3, 100.4, 101.0])
    scanned = scan(tmp_path, clock=lambda: next(times), settle=0.5)
    file.write_text("a")
    os.utime(file, (9_999, 9_999))
    assert take_all(scanned) == []
    file.write_text("longer")
    os.utime(file, (9_999, 9_999))
    assert take_all(scanned) == []  # changed since the first look
    assert take_all(scanned) == []
    assert scanned.unsettled
    assert take_all(scanned) == ["a.txt"]
    assert not scanned.unsettled


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("reports/**/*.md", {"reports/a.md", "reports/x/b.md", "reports/x/y/c.md"}),
        ("reports/**/x/**/*.md", {"reports/x/b.md", "reports/x/y/c.md"}),
        ("**/y/*.md", {"reports/x/y/c.md", "y/d.md"}),
        ("**/reports/**", {"reports/a.md", "reports/x/b.md", "reports/x/y/c.md"}),
        ("reports/x/*.md", {"reports/x/b.md", "reports/x/y/c.md"}),
        ("rep*/a.md", {"reports/a.md", "reports2/a.md"}),
        ("**/**/a.md", {"reports/a.md", "reports2/a.md"}),
    ],
)
def test_any_folders_or_none_match_two_stars_at_any_place(pattern: str, expected: set[str]) -> None:
    paths = ("reports/a.md", "reports/x/b.md", "reports/x/y/c.md", "reports2/a.md", "y/d.md")
    found = {path for path in paths if Rules([pattern]).match(PurePosixPath(path))}
    left = {path for path in paths if Rules(["*"], exclude=[pattern]).match(PurePosixPath(path))}
    assert (found, left) == (expected, set(paths) - expected)


def test_files_and_bytes_are_bounded(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"xx")
    with pytest.raises(TooManyFiles):
        scan(tmp_path, max_files=2).changed()
    scanned = scan(tmp_path)
    assert scanned.read("a", 2) == b"xx"
    with pytest.raises(ValueError, match="more than 1 bytes"):
        scanned.read("a", 1)
    with pytest.raises(OSError, match="No such file"):
        scanned.read("missing", 2)
