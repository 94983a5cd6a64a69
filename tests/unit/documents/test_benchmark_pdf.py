"""The verdicts of the benchmarks of the bundled nodes."""

from __future__ import annotations

import io

from pypdf import PdfReader

from bundled import pdf


def test_a_large_pdf_is_judged_by_its_first_text_and_by_memory() -> None:
    streamed = pdf.Reading(first_s=0.1, total_s=2.0, growth_mib=20.0)
    whole = pdf.Reading(first_s=2.0, total_s=2.0, growth_mib=300.0)

    assert [verdict.met for verdict in pdf.judge([streamed] * 3)] == [True, True]
    assert [verdict.met for verdict in pdf.judge([streamed, whole, whole])] == [False, False]


def test_the_pages_of_the_large_pdf_have_text() -> None:
    pages = PdfReader(io.BytesIO(pdf.made_pdf(2))).pages
    assert [len(page.extract_text().splitlines()) for page in pages] == [pdf.LINES] * 2
