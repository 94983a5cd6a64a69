"""The targets that write: `file_writer`, `table_writer` and `audio_player`."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Answer, Audio, Document, Image, JobUpdate, Media, Mesh, RunState, Table, node
from lanemesh.faults import LanemeshError
from lanemesh.testing import run_node
from lanemesh_services.file.file_writer import FileWriter
from lanemesh_services.file.output_folder import MAX_NAME_BYTES, Folder, extension_of, safe_name
from lanemesh_services.file.table_writer import TableWriter, _Writing
from lanemesh_services.file.tables import CsvSink
from pydantic import ValidationError

from rigs import commands


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.doc", "a.doc"),
        ("..", "default"),
        ("/", "default"),
        ("", "default"),
        (".hidden", "hidden"),
        ("a\0b\n.txt", "ab.txt"),
        ("a:b?.txt", "ab.txt"),
    ],
)
def test_a_name_never_leaves_the_folder(given: str, expected: str) -> None:
    assert safe_name(given, "default") == expected


@pytest.mark.parametrize(
    ("default", "expected"),
    [("../evil.py", "evil.py"), ("/etc/passwd", "passwd"), ("..\\evil", "evil"), ("..", "file"), ("", "file")],
)
def test_a_default_name_never_leaves_the_folder(default: str, expected: str) -> None:
    assert safe_name("", default) == expected
    assert safe_name("..", default) == expected


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "sub/evil.txt", "..", ".", ""])
def test_a_folder_takes_no_name_of_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path / "root")
    (tmp_path / "root" / "sub").mkdir()
    with pytest.raises(ValueError, match="is not the name of a file in the folder"):
        folder.put(name, b"x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["root", "sub"]


@pytest.mark.parametrize("name", ["../evil", "..", ".hidden", "/tmp/evil", "sub/evil", "..\\evil", "a\0b", "a\nb"])
@pytest.mark.parametrize(
    "sent",
    [
        {"documents": [Document("", file=Media("text/x-python", b"x"))]},
        {"documents": [Document("x")]},
        {"text": "x"},
        {"answers": [Answer(text="x", finish_reason="stop")]},
        {"image": Image("image/png", b"x")},
        {"data": [{"a": 1}]},
    ],
    ids=["file", "document", "text", "answer", "image", "data"],
)
def test_the_name_of_a_writer_is_one_part_of_a_path(tmp_path: Path, name: str, sent: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        run_node(FileWriter, config={"folder": str(tmp_path / "root"), "name": name}, **sent)
    assert not list(tmp_path.iterdir())


async def test_a_document_whose_writer_has_a_path_as_its_name_starts_no_run(tmp_path: Path) -> None:
    config = {"folder": str(tmp_path / "root"), "name": "../evil"}
    document = {
        "components": [
            {"id": "in", "provider": "webhook"},
            {"id": "out", "provider": "file_writer", "config": config, "input": [{"lane": "data", "from": "in"}]},
        ]
    }
    async with Mesh() as mesh:
        with pytest.raises(LanemeshError, match="config"):
            await mesh.run(document, input={"a": 1}).result()
    assert not os.listdir(tmp_path)


def test_a_name_is_cut_and_cleaned_where_it_becomes_the_name_of_a_file(tmp_path: Path) -> None:
    for name, expected in (("a:b", "ab.txt"), ("ä" * 100, f"{'ä' * 98}.txt"), ("x.y", "x.y.txt"), ("", "text.txt")):
        config = {"folder": str(tmp_path / str(len(name))), "name": name}
        assert [one["name"] for one in run_node(FileWriter, config=config, text="t").written] == [expected]


def test_a_name_is_bounded_in_bytes_and_keeps_its_ending() -> None:
    name = safe_name("ä" * 500 + ".pdf", "default")
    assert name.endswith(".pdf")
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert safe_name("a." + "x" * 500, "default") == "default"


def test_files_get_names_of_their_own_and_replace_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "a-2.txt").symlink_to(tmp_path / "outside")
    folder = Folder(tmp_path)
    assert [folder.put("a.txt", text).name for text in (b"1", b"2")] == ["a-3.txt", "a-4.txt"]
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert not (tmp_path / "outside").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".lanemesh-")]


def test_a_file_system_without_links_still_places_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr("os.link", link)
    folder = Folder(tmp_path)
    assert [folder.put("a.txt", text).name for text in (b"1", b"2")] == ["a.txt", "a-2.txt"]
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"2", b"1"]


def test_endings_of_media_types() -> None:
    assert [
        extension_of(kind) for kind in ("image/png", "audio/wav", "application/pdf", "no/such", "text/plain; x=1")
    ] == [
        ".png",
        ".wav",
        ".pdf",
        ".bin",
        ".txt",
    ]


def test_each_value_is_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    sent = run_node(
        FileWriter,
        config={"folder": str(folder)},
        text="hello",
        answers=[Answer(text="yes", finish_reason="stop"), Answer(data={"a": 1}, finish_reason="stop")],
        documents=[
            Document("# a", source="docs/a.md"),
            Document("page", source="b.pdf", chunk_index=3),
            Document("", source="c.pdf", file=Media("application/pdf", b"%PDF")),
        ],
        image=Image("image/png", b"PNG"),
        data=[{"k": [1]}],
    )
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files == {
        "text.txt": b"hello",
        "answers.txt": b"yes",
        "answers.json": b'{\n  "a": 1\n}\n',
        "a.md": b"# a",
        "b-3.txt": b"page",
        "c.pdf": b"%PDF",
        "image.png": b"PNG",
        "data.json": b'{\n  "k": [\n    1\n  ]\n}\n',
    }
    assert {one["name"] for one in sent.written} == files.keys()


TABLE_FILES = ["out.csv", "out.sqlite", pytest.param("out.parquet", marks=pytest.mark.heavy)]


@node(sync_mode="join")
def pair(written: dict[str, Any], text: str) -> str:
    """The name of a file, and the text that it was made of."""
    return f"{written['name']}: {text}"


@pytest.mark.heavy
async def test_items_that_were_dropped_before_a_join_are_no_files(tmp_path: Path) -> None:
    def fed(lane: str, producer: str) -> dict[str, str]:
        return {"lane": lane, "from": producer}

    document = {
        "components": [
            {"id": "in", "provider": "chat"},
            {"id": "cut", "provider": "split_text", "config": {"separator": ","}, "input": [fed("text", "in")]},
            {"id": "some", "provider": "filter", "config": {"when": 'text != "b"'}, "input": [fed("text", "cut")]},
            {
                "id": "files",
                "provider": "file_writer",
                "config": {"folder": str(tmp_path)},
                "input": [fed("text", "some")],
            },
            {"id": "both", "provider": "pair", "input": [fed("data", "files"), fed("text", "cut")]},
            {"id": "out", "provider": "response", "input": [fed("text", "both")]},
        ]
    }
    async with Mesh(nodes=[__file__]) as mesh:
        result = await mesh.run(document, input="a,b,c").result()
    assert result.values == ("text.txt: a", "text-2.txt: c")
    assert sorted(os.listdir(tmp_path)) == ["text-2.txt", "text.txt"]


@pytest.mark.parametrize(
    "sent",
    [
        {"image": Image("image/png", uri="https://example.com/a.png")},
        {"documents": Document("", file=Media("application/pdf", uri="https://example.com/a.pdf"))},
    ],
    ids=["image", "document"],
)
def test_an_item_with_an_address_in_place_of_its_bytes_is_an_error(tmp_path: Path, sent: dict[str, Any]) -> None:
    with pytest.raises(LanemeshError, match="has an address and no bytes") as caught:
        run_node(FileWriter, config={"folder": str(tmp_path)}, **sent)
    assert caught.value.fault.reason == "media-empty"
    assert not os.listdir(tmp_path)


def test_an_empty_file_is_written_as_it_is(tmp_path: Path) -> None:
    run_node(
        FileWriter,
        config={"folder": str(tmp_path)},
        documents=Document("", source="a.pdf", file=Media("application/pdf")),
    )
    assert (tmp_path / "a.pdf").read_bytes() == b""


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LanemeshError) as caught:
        run_node(FileWriter, config={"folder": str(tmp_path / "file" / "sub")}, text="x")
    assert caught.value.fault.reason == "folder-unusable"


ROWS = Table(("name", "age", "tags", "ok"), (("Ann", 41, ["a"], True), ("Bob, Jr.", None, [], False)))
MORE = Table(("name", "age", "tags", "ok"), (("Cy", 7, None, None),))


def test_a_csv_file_has_all_rows_and_appears_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("old")
    sent = run_node(TableWriter, config={"path": str(file)}, table=[ROWS, MORE])
    with file.open(newline="", encoding="utf-8") as opened:
        assert list(csv.reader(opened)) == [
            ["name", "age", "tags", "ok"],
            ["Ann", "41", '["a"]', "true"],
            ["Bob, Jr.", "", "[]", "false"],
            ["Cy", "7", "", ""],
        ]
    assert sent.written == [{"rows": 3, "columns": ["name", "age", "tags", "ok"]}]


def test_a_failed_run_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("old")
    with pytest.raises(LanemeshError) as caught:
        run_node(TableWriter, config={"path": str(file)}, table=[ROWS, Table(("other",), ((1,),))])
    assert caught.value.fault.reason == "table-unfit"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert file.read_text() == "old"


async def test_a_run_that_is_cancelled_while_it_opens_its_file_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on = threading.Event(), threading.Event()
    opened = CsvSink.__init__

    def slow(sink: CsvSink, path: Path, component: str) -> None:
        opening.set()
        go_on.wait(60)
        opened(sink, path, component)

    def abandon_while_it_opens(writing: _Writing) -> None:
        go_on.set()  # the cancellation has reached the node; the thread that opens the file continues
        abandoned(writing)

    abandoned = _Writing.abandon
    monkeypatch.setattr(CsvSink, "__init__", slow)
    monkeypatch.setattr(_Writing, "abandon", abandon_while_it_opens)
    document = {
        "components": [
            {"id": "in", "provider": "webhook", "config": {}},
            {
                "id": "out",
                "provider": "table_writer",
                "config": {"path": str(tmp_path / "out.csv")},
                "input": [{"lane": "data", "from": "in"}],
            },
        ],
        "source": "in",
    }
    async with Mesh() as mesh, mesh.run(document, input={"a": 1}) as run:
        await asyncio.to_thread(opening.wait, 60)
        await run.cancel()
        async for _ in run.updates():
            pass

    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", TABLE_FILES)
def test_columns_of_one_name_are_an_error_that_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    repeated = Table(("a", "a", "b"), ((1, 2, 3),))
    file = tmp_path / name
    run_node(TableWriter, config={"path": str(file)}, table=Table(("a", "b"), ((0, 0),)))
    before = file.read_bytes()
    with pytest.raises(LanemeshError, match='several columns "a"') as caught:
        run_node(TableWriter, config={"path": str(file), "mode": "replace"}, table=repeated)
    assert caught.value.fault.reason == "table-unfit"
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", TABLE_FILES)
def test_rows_with_the_same_columns_in_another_order_fit(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    tables = [Table(("a", "b"), ((1, 2),)), Table(("b", "a"), ((4, 3), (6, 5)))]
    (sent,) = run_node(TableWriter, config={"path": str(file)}, table=tables).written
    assert sent == {"rows": 3, "columns": ["a", "b"]}
    assert written_rows(file) == [(1, 2), (3, 4), (5, 6)]


def written_rows(file: Path) -> list[tuple[int, ...]]:
    """The numbers of a file of any kind, row by row."""
    if file.suffix == ".sqlite":
        with sqlite3.connect(file) as connection:
            return connection.execute("select a, b from data").fetchall()
    if file.suffix == ".csv":
        with file.open(newline="") as opened:
            return [tuple(map(int, row)) for row in list(csv.reader(opened))[1:]]
    columns = pytest.importorskip("pyarrow.parquet").read_table(file).to_pydict()
    return list(zip(columns["a"], columns["b"], strict=True))


def test_a_table_that_is_replaced_keeps_its_rows_if_the_first_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "out.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("create table data (a integer not null, b integer)")
        connection.execute("insert into data values (1, 2)")
    config = {"path": str(file), "mode": "replace"}
    for refused in (Table(("a",), ((None,),)), Table(("a", "c"), ((1, 2),))):
        with pytest.raises(LanemeshError):
            run_node(TableWriter, config=config, table=refused)
        assert written_rows(file) == [(1, 2)]
    run_node(TableWriter, config=config, table=[Table(("a", "b"), ((3, 4),)), Table(("a", "b"), ((5, 6),))])
    assert written_rows(file) == [(3, 4), (5, 6)]
    run_node(TableWriter, config=config, table=Table(("a", "b"), ()))
    assert written_rows(file) == []


def test_json_objects_are_rows_and_other_values_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    run_node(TableWriter, config={"path": str(file)}, data=[{"a": 1}, {"a": 2}])
    assert file.read_text().split() == ["a", "1", "2"]
    with pytest.raises(LanemeshError) as caught:
        run_node(TableWriter, config={"path": str(file)}, data=[5])
    assert caught.value.fault.reason == "table-unfit"


@pytest.mark.heavy
def test_a_parquet_file_has_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "out.parquet"
    run_node(TableWriter, config={"path": str(file)}, table=[ROWS, MORE])
    table = parquet.read_table(file)
    assert table.to_pydict() == {
        "name": ["Ann", "Bob, Jr.", "Cy"],
        "age": [41, None, 7],
        "tags": ['["a"]', "[]", None],
        "ok": [True, False, None],
    }
    wrong = Table(ROWS.columns, (("Dee", "old", None, None),))
    with pytest.raises(LanemeshError) as caught:
        run_node(TableWriter, config={"path": str(file)}, table=[ROWS, wrong])
    assert caught.value.fault.reason == "table-unfit"
    assert parquet.read_table(file).num_rows == 3


def test_a_parquet_file_without_its_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh_services.file.table_writer.missing_packages", lambda names: tuple(names))
    with pytest.raises(LanemeshError, match=r"pip install 'lanemesh\[tables\]'"):
        run_node(TableWriter, config={"path": str(tmp_path / "a.parquet")}, table=ROWS)


@pytest.mark.parametrize(
    ("config", "said"),
    [({"path": "a.parquet"}, r"pip install 'lanemesh\[tables\]'"), ({"url": "mysql://h/d"}, "postgresql://")],
)
async def test_what_a_table_cannot_be_written_without_is_reported_before_the_run_starts(
    config: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lanemesh_services.file.table_writer.missing_packages", lambda names: tuple(names))
    writer: dict[str, Any] = {"id": "table_1", "provider": "table_writer", "config": config}
    writer["input"] = [{"lane": "data", "from": "webhook_1"}]
    document = {"components": [{"id": "webhook_1", "provider": "webhook"}, writer]}
    async with Mesh() as mesh, mesh.run(document, input={"a": 1}) as run:
        states = [update.state async for update in run.updates() if isinstance(update, JobUpdate)]
        with pytest.raises(LanemeshError, match=said):
            run.raise_unless_completed()
    assert RunState.RUNNING not in states


def rows_of(file: Path) -> list[Any]:
    with sqlite3.connect(file) as connection:
        return connection.execute('select name, age, tags from "people; drop table x"').fetchall()


def test_a_database_gets_the_rows_and_is_appended_to_or_replaced(tmp_path: Path) -> None:
    file = tmp_path / "out.sqlite"
    config = {"path": str(file), "table": "people; drop table x"}
    run_node(TableWriter, config=config, table=[ROWS])
    assert rows_of(file) == [("Ann", 41, '["a"]'), ("Bob, Jr.", None, "[]")]
    run_node(TableWriter, config=config, table=[MORE])
    assert len(rows_of(file)) == 3
    run_node(TableWriter, config=config | {"mode": "replace"}, table=[MORE])
    assert rows_of(file) == [("Cy", 7, None)]
    with pytest.raises(LanemeshError) as caught:
        run_node(TableWriter, config=config, table=[Table(("other",), ((1,),))])
    assert "has no column other" in caught.value.fault.message


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///etc/passwd",
        "mysql://h/d",
        "nothing",
        "postgresql:///d",
        "postgresql://h/d?service=x",
        "postgresql://h?x@g/d",
    ],
)
def test_a_url_that_is_not_a_database_of_postgresql_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(LanemeshError) as caught:
        run_node(TableWriter, config={"url": url}, table=ROWS)
    assert caught.value.fault.reason == "database-unusable"


@pytest.mark.parametrize("config", [{}, {"path": "a.txt"}, {"path": "a.csv", "url": "postgresql://h/d"}])
def test_a_table_writer_needs_one_place(config: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        run_node(TableWriter, config=config, table=ROWS)


PLAYING = {
    "components": [
        {"id": "in", "provider": "file"},
        {
            "id": "player",
            "provider": "audio_player",
            "config": {"result_name": "voice"},
            "input": [{"lane": "audio", "from": "in"}],
        },
    ]
}


async def test_an_audio_player_delivers_audio_to_the_client() -> None:
    sound = Audio("audio/wav", b"RIFF")
    async with Mesh() as mesh:
        result = await mesh.run(PLAYING, input=sound).result()
    assert result["player"] == result["voice"] == (sound,)


def test_the_command_line_writes_what_is_played_into_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "play.pipe").write_text(json.dumps(PLAYING))
    (tmp_path / "in.mp3").write_bytes(b"ID3")
    for _ in range(2):
        ran = commands.run("run", "play.pipe", "--file", "in.mp3", folder=tmp_path)
        assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "player.mp3").read_bytes() == (tmp_path / "player-1.mp3").read_bytes() == b"ID3"
    assert "wrote player" in ran.stderr
