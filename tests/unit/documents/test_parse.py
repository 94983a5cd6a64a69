"""What `parse` reads from files of every kind."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import zipfile
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from lanemesh import Document, Image, LanemeshError, Media, RunFailed, RunState
from lanemesh.testing import run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.documents.parse import Parse
from lanemesh_services.documents.reading import archives, html, mail, plain, tables
from lanemesh_services.documents.reading.parts import File, Rows, Text

from rigs import document_files as made


def read(content: bytes, name: str, mime_type: str = "", **options: Any) -> Any:
    """What the node makes of a file."""
    document = Document("", source=name, file=Media(mime_type, content), metadata={"owner": "Ann"})
    return run_node(Parse, documents=document, **options)


def refused(content: bytes, name: str, mime_type: str = "", **config: Any) -> str:
    """The reason for which a file is refused; its message names it."""
    with pytest.raises(LanemeshError) as raised:
        read(content, name, mime_type, config=config)
    fault = raised.value.fault
    assert name in fault.message
    assert fault.details["source"] == name
    return fault.reason


def test_happy_the_pages_of_a_pdf_leave_one_by_one_with_their_places() -> None:
    result = read(made.pdf(["one\ntwo", "three"], title="Report"), "a.pdf")

    assert "".join(result.text) == "one\ntwo\n\nthree"
    first, second = result.pages
    assert (first.content, first.source, first.chunk_index) == ("one\ntwo", "a.pdf", 0)
    assert dict(first.metadata) == {"owner": "Ann", "page": 1, "pages": 2, "title": "Report"}
    assert (second.content, second.chunk_index, second.metadata["page"]) == ("three", 1, 2)
    assert (result.updates[-1].done, result.updates[-1].total) == (2, 2)


def test_happy_the_pages_of_a_document_with_an_id_have_ids_of_their_own() -> None:
    document = Document("", "d", source="a.pdf", file=Media("", made.pdf(["one", "two"])))
    assert [page.id for page in run_node(Parse, documents=document).pages] == ["d#0", "d#1"]


def test_happy_the_pictures_of_a_pdf_are_read_and_a_huge_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    (image,) = read(made.pdf(["text"], picture=(4, 3)), "a.pdf").image
    assert (image.mime_type, image.width, image.height) == ("image/png", 4, 3)
    assert image.content.startswith(b"\x89PNG")

    with caplog.at_level(logging.WARNING):
        result = read(made.pdf(["text"], picture=(20_000, 20_000)), "a.pdf")
    assert (result.text, result.image) == (["text"], [])
    assert "20000 x 20000 pixels" in caplog.text


def test_error_pages_without_text_are_counted_with_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = read(made.pdf(["", "text", ""]), "scan.pdf")
    assert [page.metadata["page"] for page in result.pages] == [2]
    assert "scan.pdf: 2 of 3 pages or parts have no text" in caplog.text
    assert "ocr" in caplog.text


def test_error_an_encrypted_pdf_wants_its_password() -> None:
    content = made.pdf(["secret"], password="open")

    assert refused(content, "a.pdf") == "file-encrypted"
    assert refused(content, "a.pdf", password="wrong") == "file-encrypted"
    assert read(content, "a.pdf", config={"password": "open"}).text == ["secret"]


def test_happy_a_docx_leaves_as_markdown_its_table_and_its_picture() -> None:
    content = made.docx(
        ["# Invoice", "Total below."], table=[["item", "price"], ["pen", "2"], ["ink", "3"]], picture=made.PNG
    )
    result = read(content, "a.docx")

    (text,) = result.text
    assert text.startswith("# Invoice\n\nTotal below.")
    assert "| pen | 2 |" in text
    (table,) = result.table
    assert (table.columns, table.rows) == (("item", "price"), (("pen", "2"), ("ink", "3")))
    assert result.image == [Image("image/png", made.PNG)]


def test_happy_the_slides_of_a_pptx_leave_one_by_one() -> None:
    content = made.pptx([("Plan", "first"), ("End", "last")], table=[["a", "b"], ["1", "2"]], picture=made.PNG)
    result = read(content, "a.pptx")

    assert [page.metadata["slide"] for page in result.pages] == [1, 2]
    assert result.text[0] == "Plan\n\nfirst"
    assert result.table[0].rows == (("1", "2"),)
    assert result.image == [Image("image/png", made.PNG, width=2, height=2)]


def test_happy_the_sheets_of_an_xlsx_leave_as_tables_and_texts() -> None:
    result = read(made.xlsx({"Costs": [["item", "price"], ["pen", 2.5], ["ink", None]], "Empty": []}), "a.xlsx")

    (table,) = result.table
    assert (table.columns, table.rows) == (("item", "price"), (("pen", 2.5), ("ink", None)))
    (page,) = result.pages
    assert page.content == "| item | price |\n| --- | --- |\n| pen | 2.5 |\n| ink |  |"
    assert (page.metadata["sheet"], page.metadata["rows"]) == ("Costs", "1-2")


def test_happy_a_table_of_100_000_rows_streams_in_bounded_tables() -> None:
    lines = "".join(f"{number};x\n" for number in range(100_000))
    result = read(f"id;name\n{lines}".encode(), "a.csv", config={"table_rows": 10_000})

    assert [len(table.rows) for table in result.table] == [10_000] * 10
    assert {table.columns for table in result.table} == {("id", "name")}
    assert result.table[-1].rows[-1] == ("99999", "x")
    assert result.pages[1].metadata["rows"] == "51-100"


def test_happy_html_is_markdown_with_tables_and_without_scripts() -> None:
    picture = base64.b64encode(made.PNG).decode()
    page = f"""<!DOCTYPE html><html><head><title>Home</title><script>evil()</script></head><body><h1>Hello</h1>
    <p>A <b>bold</b> word</p><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
    <img alt="dot" src="data:image/png;base64,{picture}"></body></html>"""
    result = read(page.encode(), "page")

    (text,) = result.text
    assert text.startswith("# Hello\n\nA **bold** word")
    assert "evil" not in text
    assert "base64" not in text
    assert result.pages[0].metadata["title"] == "Home"
    assert result.table[0].rows == (("1", "2"),)
    assert result.image == [Image("image/png", made.PNG)]


def test_happy_an_email_leaves_with_its_attachments_read() -> None:
    attachments = {"a.pdf": ("application/pdf", made.pdf(["page"])), "b.csv": ("text/csv", b"a,b\n1,2\n")}
    result = read(made.eml("Hello", attachments=attachments), "mail.eml")

    mail, page, rows = result.pages
    assert mail.content == "From: Ann <ann@example.com>\nTo: bob@example.com\nSubject: Täglich\n\nHello"
    assert (mail.metadata["title"], mail.metadata["from"]) == ("Täglich", "Ann <ann@example.com>")
    assert (page.content, page.source) == ("page", "mail.eml/a.pdf")
    assert (rows.source, result.table[0].rows) == ("mail.eml/b.csv", (("1", "2"),))


def test_happy_an_email_of_outlook_leaves_with_its_attachments_read() -> None:
    result = read(made.msg("Täglich", "Hello", {"note.txt": b"attached".ljust(5_000)}), "mail.msg")

    mail, note = result.pages
    assert mail.content == "From: Ann\nSubject: Täglich\n\nHello"
    assert (note.content.strip(), note.source) == ("attached", "mail.msg/note.txt")


def test_happy_the_chapters_of_an_epub_leave_in_order() -> None:
    result = read(made.epub(["<h1>One</h1><p>a</p>", "<h1>Two</h1>"], title="Book"), "a.epub")

    assert result.text == ["# One\n\na", "\n\n# Two"]
    assert [(page.metadata["chapter"], page.metadata["title"]) for page in result.pages] == [(1, "Book"), (2, "Book")]
    assert result.image == [Image("image/png", made.PNG)]


def test_happy_json_leaves_as_text_and_a_list_of_objects_as_a_table() -> None:
    result = read(b'[{"a": 1}, {"a": 2, "b": [true]}]', "a.json")
    assert result.text == ['[{"a": 1}, {"a": 2, "b": [true]}]']
    assert (result.table[0].columns, result.table[0].rows) == (("a", "b"), ((1, None), (2, (True,))))
    assert read(b'{"a": 1}\n{"a": 2}\n', "a.jsonl").table[0].rows == ((1,), (2,))


def test_happy_values_of_json_that_lanes_do_not_carry_have_substitutes_and_the_rest_of_the_archive_is_read() -> None:
    content = '[{"a\\udc00": [NaN, -Infinity, 1e999, {"x\\ud800": "\\udfff"}], "b": 9223372036854775808, "c": %s}]' % (
        "9" * 5_000
    )
    result = read(made.archive({"a.txt": "first", "bad.json": content, "c.txt": "last"}), "all.zip")

    assert [page.source for page in result.pages] == ["all.zip/a.txt", "all.zip/bad.json", "all.zip/c.txt"]
    (table,) = result.table
    assert table.columns == ("a\ufffd", "b", "c")
    assert table.rows == (((None, None, None, {"x\ufffd": "\ufffd"}), "9223372036854775808", "9" * 5_000),)


def test_error_json_of_more_levels_than_lanes_carry_is_read_as_text(caplog: pytest.LogCaptureFixture) -> None:
    content = '[{"a": ' + "[" * 99 + "]" * 99 + "}]"
    with caplog.at_level(logging.WARNING):
        result = read(content.encode(), "deep.json")
    assert (result.text, result.table) == ([content], [])
    assert "deep.json: JSON of more than 100 levels is read as text alone" in caplog.text
    assert read(content.replace("[]", "0").encode(), "a.json").table


def test_happy_only_the_ends_of_lines_that_strings_cannot_hold_end_a_value_of_json_lines() -> None:
    values = ["x\u2028y", "x\u2029y", "x\x85y"]
    content = "\r\n".join(f'{{"a": "{value}"}}' for value in values)
    assert read(content.encode(), "a.jsonl").table[0].rows == tuple((value,) for value in values)


def test_happy_what_a_reader_finds_is_made_such_that_lanes_carry_it() -> None:
    text = Text("a\ud800", {"title": "\udc00", "number": 2**63, "pair": "\ud83d\ude00"})
    assert (text.text, text.metadata) == ("a\ufffd", {"title": "\ufffd", "number": str(2**63), "pair": "😀"})
    assert File("a\ud800.txt", "text/\ud800", b"").name == "a\ufffd.txt"
    rows = Rows(("\ud800",), ((float("nan"),), (-(2**63),), (datetime(2024, 5, 1, 12, 30),), (timedelta(minutes=1),)))
    assert (rows.columns, rows.rows) == (("\ufffd",), ((None,), (-(2**63),), ("2024-05-01T12:30:00",), (60.0,)))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
def test_happy_texts_of_any_encoding_are_read(encoding: str) -> None:
    text = "Grüße aus Köln: während der Übung aß der Bär süße Äpfel.\nDazu gab es Käse und Brötchen für alle."
    assert read(text.encode(encoding), "a.txt").text == [text]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe", "latin-1"),
        ("déjà vu", "cp1252"),
        ("5 € für Bär", "cp1252"),
        ("Это довольно длинный русский текст, в котором много обычных слов и предложений.", "cp1251"),
        ("これは日本語の文章です。今日は天気がとても良いので、公園を散歩しました。", "shift_jis"),
    ],
)
def test_happy_short_and_other_texts_are_read_by_their_likeliest_encoding(text: str, encoding: str) -> None:
    assert read(text.encode(encoding), "a.txt").text == [text]


def test_happy_a_long_text_leaves_in_parts_of_whole_lines() -> None:
    result = read(b"line\n" * 1_000, "a.txt", config={"text_characters": 1_000})
    assert len(result.pages) == 5
    assert {page.content for page in result.pages} == {"line\n" * 200}
    assert [page.metadata["part"] for page in result.pages] == [1, 2, 3, 4, 5]
    assert "".join(result.text) == "line\n" * 1_000


def test_happy_markdown_text_of_a_document_and_media_are_passed_on() -> None:
    assert run_node(Parse, documents=Document("# Title", source="a.md")).text == ["# Title"]
    assert read(b"RIFF0000WAVEfmt ", "a").audio[0].mime_type == "audio/wav"
    assert read(b"\0\0\0\x18ftypisom", "a.mp4").video[0].mime_type == "video/mp4"
    assert read(made.PNG, "a.bin").image[0].content == made.PNG


@pytest.mark.parametrize("port", ["data", "tags"])
def test_happy_files_come_as_data_and_tags(port: str) -> None:
    file: Any = {"name": "a.csv", "mime_type": "text/csv", "content_base64": base64.b64encode(b"a,b\n1,2\n").decode()}
    inputs: Any = {port: file}
    result = run_node(Parse, **inputs)
    assert (result.pages[0].source, result.table[0].rows) == ("a.csv", (("1", "2"),))


@pytest.mark.parametrize("data", ["text", {"name": "a"}, {"name": "a", "content_base64": "?"}, {"name": 1}])
def test_error_data_that_are_no_file_are_refused(data: Any) -> None:
    with pytest.raises(LanemeshError, match="content_base64") as raised:
        run_node(Parse, data=[data])
    assert raised.value.fault.reason == "file-misdeclared"


def test_error_several_inputs_are_refused() -> None:
    with pytest.raises(LanemeshError, match="Connect one"):
        run_node(Parse, documents=Document("x", source="a.txt"), data=[{"name": "b"}])


def test_error_empty_broken_and_unknown_files_are_refused_with_their_names() -> None:
    assert refused(b"", "a.pdf") == "file-empty"
    assert refused(b"%PDF-1.7 nothing", "a.pdf") == "file-broken"
    assert refused(b"no PDF", "a.pdf", "application/pdf") == "file-broken"
    assert refused(made.archive({"word/document.xml": "<w"}), "a.docx") == "file-broken"
    assert refused(made.archive({"ppt/presentation.xml": "<p"}), "a.pptx") == "file-broken"
    assert refused(made.archive({"xl/workbook.xml": "<x"}), "a.xlsx") == "file-broken"
    assert refused(made.archive({"META-INF/container.xml": "<c"}), "a.epub") == "file-broken"
    assert refused(made.pdf(["text"])[:300], "a.pdf") == "file-broken"
    assert refused(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.msg") == "file-broken"
    assert refused(b"{", "a.json") == "file-broken"
    assert refused(bytes(range(256)) * 10, "a.exe") == "file-type-unknown"
    assert refused(made.compound({"WordDocument": b"x"}), "a.doc") == "file-type-unknown"
    assert refused(made.compound({"EncryptedPackage": b"x"}), "a.docx") == "file-encrypted"


def test_error_a_file_with_an_address_is_not_fetched() -> None:
    with pytest.raises(LanemeshError, match="not fetched"):
        run_node(Parse, documents=Document("", source="a", file=Media("text/html", uri="http://example.com")))


def test_error_a_zip_bomb_is_refused_before_it_expands() -> None:
    inner = made.archive({"zeros.txt": bytes(30_000_000)})
    assert len(inner) < 100_000
    assert refused(inner, "bomb.zip", max_expanded=20_000_000) == "file-too-large"
    nested = made.archive({f"{number}.zip": inner for number in range(3)})
    with pytest.raises(LanemeshError, match="expands to more than"):
        read(nested, "bomb.zip", config={"max_expanded": 70_000_000})


def test_error_structures_that_would_take_many_times_their_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MAX_CHARACTERS", 1_000)
    monkeypatch.setattr(archives, "MAX_XML", 10_000)
    monkeypatch.setattr(mail, "MAX_BYTES", 1_000)
    assert refused(b"<html>" + b"x" * 1_001, "a.html") == "file-too-large"
    assert refused(made.docx(["x" * 10_000]), "a.docx") == "file-too-large"
    assert refused(made.eml("x" * 1_001), "a.eml") == "file-too-large"


def test_error_html_that_is_nested_too_deeply_is_refused() -> None:
    assert refused(b"<div>" * 5_000, "deep.html") == "file-broken"


def test_error_json_that_is_too_long_for_a_table_is_read_as_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plain, "MAX_JSON", 10)
    with caplog.at_level(logging.WARNING):
        result = read(b'[{"a": 1}, {"a": 2}]', "a.json")
    assert (result.text, result.table) == (['[{"a": 1}, {"a": 2}]'], [])
    assert "read as text alone" in caplog.text


def test_error_long_cells_leave_in_smaller_tables_and_texts() -> None:
    rows = "".join(f"{number},{'x' * 1_000_000}\n" for number in range(5))
    result = read(f"id,text\n{rows}".encode(), "a.csv")
    assert [len(table.rows) for table in result.table] == [1, 1, 1, 1, 1]
    assert max(len(page.content) for page in result.pages) <= 1_000_000


def test_error_a_sheet_with_a_wrong_size_is_read_by_its_rows() -> None:
    content = made.xlsx({"Costs": [["item", "price"], ["pen", 2]]})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    sheet = files["xl/worksheets/sheet1.xml"]
    files["xl/worksheets/sheet1.xml"] = sheet.replace(b"<sheetData>", b'<dimension ref="A1:XFD1048576"/><sheetData>')
    (table,) = read(made.archive(files), "a.xlsx").table
    assert (table.columns, table.rows) == (("item", "price"), (("pen", 2),))


def test_error_a_bomb_that_lies_about_its_size_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(1_000_000))
    lying = written.getvalue().replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with caplog.at_level(logging.WARNING):
        assert read(lying, "a.zip").text == []
    assert "cannot be expanded" in caplog.text


def test_error_files_in_files_are_read_to_a_depth_and_broken_ones_are_named(caplog: pytest.LogCaptureFixture) -> None:
    deep = made.archive({"deep.zip": made.archive({"a.txt": "deep"}), "b.txt": "shallow", "c.pdf": "%PDF-1.7"})
    assert sorted(read(deep, "a.zip").text) == ["\n\nshallow", "deep"]
    with caplog.at_level(logging.WARNING):
        assert read(deep, "a.zip", config={"depth": 1}).text == ["shallow"]
    assert "a.zip/deep.zip/a.txt is nested in more than 1 files" in caplog.text
    assert "a.zip/c.pdf cannot be read as PDF" in caplog.text


def test_error_a_file_above_the_limit_is_refused_and_on_error_skip_goes_on() -> None:
    assert refused(bytes(1_001), "a.txt", max_file=1_000) == "file-too-large"
    files = [
        Document("", source=f"{n}.txt", file=Media("text/plain", text)) for n, text in enumerate((b"a", b"", b"c"))
    ]
    result = run_node(Parse, documents=files, on_error="skip")
    assert result.text == ["a", "c"]


def test_happy_the_same_file_gives_the_same_outputs() -> None:
    content = json.dumps([{"a": number} for number in range(100)]).encode()
    assert read(content, "a.json").pages == read(content, "a.json").pages


def test_error_a_broken_page_is_left_out_and_the_rest_is_read(caplog: pytest.LogCaptureFixture) -> None:
    content = made.pdf(["one", "two"]).replace(b"/Length 44\n", b"/Filter /Xy\n", 1)
    with caplog.at_level(logging.WARNING):
        assert read(content, "a.pdf").text == ["two"]
    assert "a.pdf: page 1 of 2 cannot be read: Unsupported filter" in caplog.text


async def test_shutdown_a_reading_ends_at_the_next_page() -> None:
    content = made.archive({f"{number}.txt": "text" for number in range(1_000)})
    pages: list[str] = []
    async with Mesh() as mesh:
        pipeline = {
            "version": 1,
            "source": "file_1",
            "components": [
                {"id": "file_1", "provider": "file"},
                {"id": "parse_1", "provider": "parse", "input": [{"lane": "documents", "from": "file_1"}]},
                {"id": "out", "provider": "response_text", "input": [{"lane": "text", "from": "parse_1"}]},
            ],
        }
        async with mesh.run(pipeline, inputs=[Document("", source="a.zip", file=Media("", content))]) as run:
            with suppress(RunFailed):
                async for output in run.outputs():
                    pages.append(output.value)
                    if len(pages) == 2:
                        await run.cancel()
        assert run.state is RunState.CANCELLED
    assert len(pages) < 1_000


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a;b\n1,5;2\n", (("1,5", "2"),)),
        ("a|b\n1|2\n", (("1", "2"),)),
        ("a, b\n1, 2\n", (("1", "2"),)),
        ("a\n1 2\n", (("1 2",),)),
        ('a,b\n"x;y;z",2\n', (("x;y;z", "2"),)),
    ],
)
def test_happy_the_delimiter_of_a_csv_file_is_found(text: str, rows: object) -> None:
    (table,) = read(text.encode(), "a.csv").table
    assert table.rows == rows


def test_error_quotation_marks_do_not_delay_a_csv_file() -> None:
    """`csv.Sniffer` takes minutes for this text, and no other thread runs meanwhile."""
    result = read((',"x' * 21_000).encode(), "a.csv", timeout=30)
    assert result.table


def test_shutdown_rows_that_lack_cells_do_not_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    batches = [len(batch) for batch in tables.batches([("1",) * 16_000, *[("1",)] * 500], 1_000)]
    assert sum(batches) == 501
    assert max(batches) * 16_000 <= tables.BATCH_CELLS
    assert refused(b"a," * 20_000 + b"\n1", "a.csv") == "file-too-large"

    names = json.dumps([{str(number): 1} for number in range(20_000)])
    assert not read(names.encode(), "a.json").table
    page = f"<table><tr>{'<td>1</td>' * 6_000}</tr>{'<tr><td>1</td></tr>' * 1_000}</table>"
    assert not read(page.encode(), "a.html").table
    assert "more than 16,384 different names" in caplog.text
    assert "columns or 5,000,000 cells" in caplog.text


def test_error_a_broken_member_is_left_out_and_the_rest_is_read(caplog: pytest.LogCaptureFixture) -> None:
    content = bytearray(made.archive({"a.txt": "lost " * 500, "b.txt": "kept"}))
    start = content.index(b"a.txt") + len(b"a.txt")
    content[start : start + 8] = b"\xff" * 8
    assert read(bytes(content), "a.zip").text == ["kept"]
    assert "a.txt in a.zip cannot be expanded" in caplog.text


def test_error_a_mail_that_is_nested_too_deeply_is_named() -> None:
    parts = "".join(f"Content-Type: multipart/mixed; boundary={number}\n\n--{number}\n" for number in range(3_000))
    assert refused(parts.encode(), "a.eml") == "file-broken"


def test_happy_a_chapter_that_an_epub_names_twice_is_read_once() -> None:
    book = made.epub(["<p>one</p>", "<p>two</p>"], title="Book")
    members = {name: zipfile.ZipFile(io.BytesIO(book)).read(name) for name in archives.names_in(book)}
    package = next(name for name in members if name.endswith(".opf"))
    members[package] = re.sub(rb"(<itemref[^>]*/>)", rb"\1" * 50, members[package])
    assert len(read(made.archive(members), "a.epub").pages) == 2
