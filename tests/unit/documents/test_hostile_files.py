"""Files that a client could make to do harm: each is an error that names it, or is read as far as it goes, in bounded memory."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from lanemesh import Document, LanemeshError, Media
from lanemesh.testing import run_node
from lanemesh_services.documents.parse import Parse
from lanemesh_services.documents.reading import pdf as reading

from rigs.hostile_pdf import CATALOG, large, packed, page_of, pdf, stream, text_of

MEBIBYTE = 1024 * 1024


def parsed(name: str, content: bytes, **options: Any) -> Any:
    """The result of the reading of a file."""
    return run_node(Parse, documents=Document("", source=name, file=Media("", content)), timeout=120, **options)


def bomb(size: int) -> bytes:
    """Compressed zeros."""
    packing = zlib.compressobj(9)
    return b"".join(packing.compress(bytes(MEBIBYTE)) for _ in range(size // MEBIBYTE)) + packing.flush()


def archive(**members: bytes) -> bytes:
    """A ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name.replace("__", "/"), content)
    return file.getvalue()


DEEP = pdf(CATALOG, *(b"<< /Type /Pages /Kids [%d 0 R] /Count 1 >>" % (number + 3) for number in range(2_000)))
LOOP = pdf(CATALOG, b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>")
MANY = pdf(CATALOG, b"<< /Type /Pages /Kids [%b] /Count 200000 >>" % (b"3 0 R " * 200_000), b"<< /Type /Page >>")
NESTED = pdf(b"<< /Type /Catalog /Pages 2 0 R /X " + b"[" * 50_000 + b"]" * 50_000 + b" >>", b"<< /Kids [] >>")


@pytest.mark.parametrize("content", [DEEP, LOOP, MANY, NESTED], ids=["deep", "loop", "many", "nested"])
def test_error_a_pdf_whose_structure_does_harm_is_named(content: bytes) -> None:
    with pytest.raises(LanemeshError, match=r"the file bad\.pdf cannot be read as PDF") as raised:
        parsed("bad.pdf", content)
    assert raised.value.fault.reason == "file-broken"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda: page_of(stream(bomb(150 * MEBIBYTE), b"/Filter /FlateDecode ")), "page 1 of 1 cannot be read"),
        (
            lambda: page_of(stream(zlib.compress(bomb(200 * MEBIBYTE)), b"/Filter [/FlateDecode /FlateDecode] ")),
            "page 1 of 1 cannot be read",
        ),
        (lambda: page_of(packed(text_of(b"word", 800_000))), "its content expands to"),
    ],
    ids=["bomb", "bomb in a bomb", "endless text"],
)
def test_error_a_page_that_expands_too_far_is_left_out_with_a_warning(
    content: Callable[[], bytes], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = content()
    assert len(file) < 2 * MEBIBYTE
    tracemalloc.start()
    try:
        assert parsed("bomb.pdf", file).pages == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert any(says in message and "bomb.pdf" in message for message in caplog.messages)
    assert peak < 200 * MEBIBYTE


def test_error_a_page_of_too_many_operations_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "MAX_OPERATIONS", 100)
    assert parsed("busy.pdf", page_of(stream(text_of(b"word", 100)))).pages == []
    assert any("it has more than 100 operations" in message for message in caplog.messages)


def test_happy_a_pdf_that_claims_pages_it_does_not_have_and_draws_itself_is_read() -> None:
    (page,) = parsed("odd.pdf", page_of(stream(text_of(b"Hello") + b" /X Do"), count=10**9)).pages
    assert page.content == "Hello"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("broken.xlsx", lambda: archive(xl__workbook=b"", **{"xl/workbook.xml": b"<a/>"}), "file-broken"),
        ("broken.pptx", lambda: archive(**{"ppt/presentation.xml": b"<a/>"}), "file-broken"),
        ("broken.epub", lambda: archive(**{"META-INF/container.xml": b"<container/>"}), "file-broken"),
        ("broken.msg", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5_000), "file-broken"),
        ("deep.json", lambda: b"[" * 1_000_000, "file-broken"),
        ("packed.tar.gz", lambda: b"\x1f\x8b\x08" + bytes(range(256)), "file-type-unknown"),
    ],
)
def test_error_a_file_that_is_broken_within_is_named(name: str, content: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(LanemeshError, match=name) as raised:
        parsed(name, content())
    assert raised.value.fault.reason == reason


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
def test_happy_a_text_of_any_encoding_is_read(encoding: str) -> None:
    text = "Grüße aus Köln, schöne Wörter für alle Hörer.\n" * 20
    assert "".join(parsed("greeting.txt", text.encode(encoding)).text).strip() == text.strip()


def test_happy_a_table_of_100_000_rows_leaves_in_batches() -> None:
    rows = b"".join(b"%d,row %d\n" % (number, number) for number in range(100_000))
    tables = parsed("rows.csv", b"number,name\n" + rows).table
    assert sum(len(table.rows) for table in tables) == 100_000
    assert max(len(table.rows) for table in tables) <= 1_000


def test_error_json_whose_table_would_be_nearly_empty_is_read_as_text(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{f"name {number}": 1, f"name {number + 1}": 2} for number in range(5_000)]
    result = parsed("wide.json", json.dumps(rows).encode())
    assert result.table == []
    assert json.loads("".join(result.text)) == rows
    assert any("25,005,000 cells" in message for message in caplog.messages)


def test_error_an_endless_header_of_an_email_is_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    endless = b"=?utf-8?q?a?= " * 200_000
    part = b"--x\nContent-Type: text/plain; " + b"a=b; " * 200_000 + b"\n\nthe text\n"
    mail = (
        b"From: a@example.com\nContent-Type: multipart/mixed; boundary=x\nSubject: "
        + endless
        + b"\n\n"
        + part
        + b"--x--"
    )

    (page,) = parsed("endless.eml", mail).pages

    assert page.content.endswith("the text")
    assert len(page.content) < 30_000
    assert any("the headers Subject of endless.eml are read up to 20,000" in message for message in caplog.messages)


@pytest.mark.many
def test_happy_the_first_page_of_a_pdf_of_200_mb_is_read_before_the_others_and_memory_stays_flat() -> None:
    content = large(200, 1_000_000)
    assert len(content) > 200_000_000
    tracemalloc.start()
    try:
        pages = parsed("large.pdf", content).pages
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert [page.content for page in pages] == [f"Page {number}" for number in range(1, 201)]
    assert peak < 3 * len(content)  # pieces on the lanes, their whole, and no copy of it for each page
