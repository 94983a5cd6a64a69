"""Pipelines, settings, files and standard input as commands read them."""

import asyncio
import os
from pathlib import Path

import pytest
from lanemesh.client.node_types import NodeTypeInfo, OutputInfo
from lanemesh.codec import decode, encode
from lanemesh.file_values import file_items
from lanemesh.items import MAX_VALUE_BYTES, LaneType
from lanemesh.values import Document, Image, Media
from lanemesh_orchestrator.cli.app import with_spread_value
from lanemesh_orchestrator.cli.exits import CommandError
from lanemesh_orchestrator.cli.input.documents import PipelineFile, parse_settings, read_pipeline
from lanemesh_orchestrator.cli.input.hosts import HostOptions
from lanemesh_orchestrator.cli.input.inputs import (
    InputOptions,
    Inputs,
    file_inputs,
    read_lines,
    read_value,
    read_whole,
)
from lanemesh_orchestrator.cli.output.files import parse_outputs
from lanemesh_orchestrator.pipeline.source import Source


def node_type(provider: str, *lanes: str) -> NodeTypeInfo:
    outputs = tuple(OutputInfo(name=lane, lane=lane) for lane in lanes)
    return NodeTypeInfo(provider=provider, boundary="source", outputs=outputs)


CHAT = node_type("chat", "questions", "text")
FILE = node_type("file", "text", "documents", "image")


def source(of: NodeTypeInfo) -> Source:
    return Source(f"{of.provider}_1", of, frozenset())


async def given(options: InputOptions, at: Source | None) -> list[object]:
    return [value async for value in Inputs(options, at)]


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def test_the_source_is_the_one_component_that_the_client_feeds() -> None:
    text = '{"components": [{"id": "c", "provider": "chat"}, {"id": "u", "input": [{"lane": "text", "from": "c"}]}]}'

    found = PipelineFile("a.pipe", text).source([CHAT, FILE])

    assert found is not None
    assert (found.label, found.lanes) == ("c (chat)", frozenset({"text"}))


@pytest.mark.parametrize(
    ("text", "component"),
    [
        ('{"components": [{"id": "c", "provider": "chat"}, {"id": "f", "provider": "file"}]}', None),
        ('{"components": [{"id": "c", "provider": "chat"}, {"id": "f", "provider": "file"}], "source": "f"}', "f"),
        ('{"components": [{"id": "c", "provider": "chat"}], "source": "x"}', None),
        ('{"components": [{"id": "c", "provider": "other"}]}', None),
        ('{"components": [1, {"id": 2, "provider": "chat"}]}', None),
        ('{"components": 1}', None),
        ("[]", None),
        ("no JSON", None),
    ],
)
def test_an_ambiguous_source_is_none(text: str, component: str | None) -> None:
    found = PipelineFile("a.pipe", text).source([CHAT, FILE])

    assert (found.component if found else None) == component


def test_settings_are_json_where_they_are_and_text_elsewhere() -> None:
    given = ["llm_1.temperature=0", 'llm_1.stop=["a"]', "p.template=a=b", "p.name=NaN", "p.empty="]

    expected = {"llm_1.temperature": 0, "llm_1.stop": ["a"], "p.template": "a=b", "p.name": "NaN", "p.empty": ""}
    assert parse_settings(given) == expected


@pytest.mark.parametrize("setting", ["temperature=0", "llm_1.temperature", ".a=1", "llm_1.=1", "="])
def test_the_error_of_a_malformed_setting_shows_its_form(setting: str) -> None:
    with pytest.raises(CommandError, match=r"component\.key=value"):
        parse_settings([setting])


def test_a_missing_pipeline_names_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "chat.pipe").write_text("{}")

    with pytest.raises(CommandError, match=r"Did you mean .*chat\.pipe"):
        read_pipeline(str(tmp_path / "chatt.pipe"))
    with pytest.raises(CommandError, match=r"Pipelines there: chat\.pipe"):
        read_pipeline(str(tmp_path / "zzz.json"))
    with pytest.raises(CommandError, match="is a folder"):
        read_pipeline(str(tmp_path))
    with pytest.raises(CommandError, match="no folder"):
        read_pipeline(str(tmp_path / "no" / "chat.pipe"))


def test_a_pipeline_may_begin_with_a_byte_order_mark_and_must_be_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "a.pipe"
    file.write_bytes(b"\xef\xbb\xbf{}")
    assert read_pipeline(str(file)).text == "{}"
    file.write_bytes(b"\xff\xfe{")
    with pytest.raises(CommandError, match="not UTF-8"):
        read_pipeline(str(file))


def test_a_file_is_a_document_media_or_text_as_the_source_takes_it(tmp_path: Path) -> None:
    notes, model, odd = tmp_path / "notes.md", tmp_path / "a.png", tmp_path / "data.unknown"
    notes.write_text("héllo")
    model.write_bytes(b"\x89PNG")
    odd.write_text("text all the same")

    assert read_value(notes, source(FILE)) == Document("héllo", source=str(notes))
    assert read_value(notes, source(CHAT)) == "héllo"
    assert read_value(odd, source(FILE)).content == "text all the same"
    assert read_value(model, source(FILE)) == Image("image/png", b"\x89PNG")


def test_a_file_that_is_no_text_is_a_document_that_has_the_file(tmp_path: Path) -> None:
    report, binary, large = tmp_path / "a.pdf", tmp_path / "a.bin", tmp_path / "large.txt"
    report.write_bytes(b"%PDF-1.7")
    binary.write_bytes(b"\xff\xfe\x00")
    with large.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    pages = Document("", source=str(report), file=Media("application/pdf", b"%PDF-1.7"))
    assert read_value(report, source(FILE)) == pages
    assert [item.value for item in file_inputs(Path("x"), pages)] == [pages]
    assert read_value(binary, source(FILE)).file.content == b"\xff\xfe\x00"
    pieces = file_inputs(Path("x"), read_value(large, source(FILE)))
    assert len(pieces) == 17
    groups = [piece.envelope.group for piece in pieces]
    assert ([group.index for group in groups], groups[-1].last) == (list(range(17)), True)
    assert len({group.id for group in groups}) == 1


def test_the_error_of_an_unsuitable_file_has_the_reason(tmp_path: Path) -> None:
    model, binary, large = tmp_path / "a.png", tmp_path / "a.bin", tmp_path / "large.txt"
    model.write_bytes(b"\x89PNG")
    binary.write_bytes(b"\xff\xfe\x00")
    with large.open("wb") as file:
        file.truncate(17 * 1024 * 1024)

    with pytest.raises(CommandError, match=r"chat_1 \(chat\) does not accept image"):
        read_value(model, source(CHAT))
    with pytest.raises(CommandError, match="byte 0 is not UTF-8"):
        read_value(binary, source(CHAT))
    with pytest.raises(CommandError, match="limit"):
        read_value(large, source(CHAT))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (InputOptions(texts=["a"], files=[Path("b")]), "cannot both"),
        (InputOptions(texts=["a"], lines=True), "--lines needs"),
        (InputOptions(files=[Path(__file__), Path("/nowhere/at/all")]), "does not exist"),
        (InputOptions(files=[Path("/")]), "is a folder"),
        (InputOptions(files=[Path("/dev/null")]), "is a device or a pipe, not a file"),
    ],
)
def test_inputs_that_cannot_be_meant_are_refused(options: InputOptions, match: str) -> None:
    with pytest.raises(CommandError, match=match):
        options.check()


async def test_each_given_text_is_an_input() -> None:
    assert await given(InputOptions(texts=["hello", "", "again"]), source(CHAT)) == ["hello", "", "again"]


async def test_each_given_file_is_an_input(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.txt", "b.txt", "empty.txt")]
    for file in files:
        file.write_text(file.stem.replace("empty", ""))

    assert await given(InputOptions(files=files), source(CHAT)) == ["a", "b", ""]
    assert await given(InputOptions(files=files, lines=True), source(CHAT)) == ["a", "b"]


def test_media_in_a_file_whose_name_is_not_utf_8_are_an_input(tmp_path: Path) -> None:
    picture = tmp_path / os.fsdecode(b"scan\xff.png")
    picture.write_bytes(b"\x89PNG")

    [item] = file_inputs(picture, read_value(picture, source(FILE)))
    assert item.envelope.metadata["file_name"].endswith(r"scan\udcff.png")


@pytest.mark.parametrize("suffix", [".txt", ".pdf", ".png"])
def test_a_document_of_a_file_whose_name_is_not_utf_8_is_an_input(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
    file.write_bytes(b"content")

    value = read_value(file, source(node_type("file", "documents")))
    [item] = file_items(value)
    assert decode(LaneType.DOCUMENTS, encode(LaneType.DOCUMENTS, item)).value == value
    assert value.source.endswith(rf"caf\udce9{suffix}")


def test_a_later_file_that_is_too_large_is_refused_before_the_run_begins(tmp_path: Path) -> None:
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    small.write_text("a")
    with large.open("wb") as file:
        file.truncate(MAX_VALUE_BYTES + 1)

    with pytest.raises(CommandError, match=f"--file {large}: .* exceed the limit"):
        Inputs(InputOptions(files=[small, large]), source(CHAT))


async def test_a_file_of_lines_that_vanishes_is_named(tmp_path: Path) -> None:
    here, gone = tmp_path / "a.txt", tmp_path / "b.txt"
    for file in (here, gone):
        file.write_text("a")
    inputs = aiter(Inputs(InputOptions(files=[here, gone], lines=True), source(CHAT)))

    assert await anext(inputs) == "a"
    gone.unlink()
    with pytest.raises(CommandError, match=f"--file {gone}: it cannot be read: No such file"):
        await anext(inputs)


async def test_a_later_file_that_is_no_text_ends_the_inputs_with_an_error(tmp_path: Path) -> None:
    text, binary = tmp_path / "a.txt", tmp_path / "b.bin"
    text.write_text("a")
    binary.write_bytes(b"\xff")
    inputs = Inputs(InputOptions(files=[text, binary]), source(CHAT))
    values = aiter(inputs)

    assert await anext(values) == "a"
    with pytest.raises(CommandError, match=f"--file {binary}: byte 0 is not UTF-8"):
        await anext(values)
    assert inputs.count == 1
    assert inputs.error is not None


async def test_a_file_is_fed_line_by_line_where_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("a\r\n\nb")

    assert await given(InputOptions(files=[file], lines=True), source(FILE)) == ["a", "", "b"]


async def test_lines_come_as_they_are_written(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = read_lines(reader, "standard input")

    os.write(writer, "één\nhal".encode())
    assert await anext(lines) == "één"
    os.write(writer, b"f\n")
    assert await anext(lines) == "half"
    os.write(writer, b"rest")
    os.close(writer)
    assert [line async for line in lines] == ["rest"]


async def test_a_line_that_is_no_text_is_named(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"good\n\xff\n")
    os.close(writer)

    with pytest.raises(CommandError, match="standard input, line 2: byte 0"):
        [line async for line in read_lines(reader, "standard input")]


async def test_a_whole_that_is_too_large_is_refused_while_it_comes(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    def flood() -> None:
        try:
            while True:
                os.write(writer, b"x" * 65_536)
        except BrokenPipeError:
            os.close(writer)

    flooding = asyncio.create_task(asyncio.to_thread(flood))
    with pytest.raises(CommandError, match="--lines"):
        await read_whole(reader, "standard input")
    os.close(reader)
    await flooding


def test_outputs_go_to_files_of_components_that_exist(tmp_path: Path) -> None:
    files = parse_outputs([f"response_1={tmp_path}/a=b.txt"], ["response_1"])

    assert files["response_1"].path == f"{tmp_path}/a=b.txt"
    for output, match in (
        ("response_1", "component=FILE"),
        ("respons_1=a", "Nearest: response_1"),
        (f"response_1={tmp_path}", "it is a folder"),
        ("response_1=/nowhere/at/all/a.txt", "no folder"),
    ):
        with pytest.raises(CommandError, match=match):
            parse_outputs([output], ["response_1"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--spread", "a.pipe"], ["run", "--spread=service", "a.pipe"]),
        (["run", "a.pipe", "--spread"], ["run", "a.pipe", "--spread=service"]),
        (["run", "--spread=component", "a.pipe"], ["run", "--spread=component", "a.pipe"]),
        (["run", "--spread", "component", "a.pipe"], ["run", "--spread", "component", "a.pipe"]),
        (["run", "--", "--spread"], ["run", "--", "--spread"]),
    ],
)
def test_spread_needs_no_value(arguments: list[str], expected: list[str]) -> None:
    assert with_spread_value(arguments) == expected


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (HostOptions(mesh="a:1", spread="service"), "cannot both"),
        (HostOptions(mesh="a:1", nodes=(Path("x.py"),)), "lanemesh node --nodes x.py --orchestrator a:1"),
        (HostOptions(mesh="nowhere"), "host:port"),
        (HostOptions(mesh="a:99999"), "host:port"),
        (HostOptions(nodes=(Path("/nowhere/x.py"),)), "no such file"),
    ],
)
def test_hosts_that_cannot_be_meant_are_refused(options: HostOptions, match: str) -> None:
    with pytest.raises(CommandError, match=match):
        options.check()
