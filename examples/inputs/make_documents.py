"""Writes handbook.pdf and handbook.docx, the inputs of read_documents.pipe.

`python examples/inputs/make_documents.py`; it needs `pip install 'lanemesh[documents]'`. The same files are written every time.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

FOLDER = Path(__file__).parent
TITLE = "Handbook of the harbour office"
PAGES = (
    (
        "Opening hours",
        "The office opens at eight in the morning.",
        "It closes at six in the evening.",
        "On Sundays it is closed.",
    ),
    (
        "Fees",
        "A berth costs twelve euros a night.",
        "Boats of less than six metres pay half.",
        "Pay at the office before noon.",
    ),
    (
        "Storms",
        "At wind force eight the red flag is raised.",
        "Then no boat may leave the harbour.",
        "Call channel nine for help.",
    ),
)
FEES = (("Length", "Euros a night"), ("up to 6 m", "6"), ("up to 12 m", "12"), ("up to 18 m", "20"))
_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def write_pdf(path: Path) -> None:
    """A PDF of three pages."""
    writer = PdfWriter()
    names = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica", "/Encoding": "/WinAnsiEncoding"}
    font = DictionaryObject({NameObject(key): NameObject(name) for key, name in names.items()})
    fonts = DictionaryObject({NameObject("/F1"): font})
    for lines in PAGES:
        page = writer.add_blank_page(420, 595)
        written = b"".join(b"(%s) Tj 0 -18 Td\n" % line.encode("cp1252") for line in lines)
        content = DecodedStreamObject()
        content.set_data(b"BT /F1 14 Tf 40 540 Td\n%sET\n" % written)
        page[NameObject("/Contents")] = content
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    writer.add_metadata({"/Title": TITLE})
    writer.write(path)


def write_docx(path: Path) -> None:
    """A DOCX with the same text, and a table of fees."""
    body = _paragraph(TITLE, "Heading1")
    for title, *lines in PAGES:
        body += _paragraph(title, "Heading2") + _paragraph(" ".join(lines))
    rows = ("".join(f"<w:tc>{_paragraph(cell)}</w:tc>" for cell in row) for row in FEES)
    body += "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in rows) + "</w:tbl>"
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{level}"><w:name w:val="heading {level}"/></w:style>'
        for level in (1, 2)
    )
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" '
        'ContentType="application/xml"/><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
        "word/styles.xml": f"<w:styles {_WORD}>{styles}</w:styles>",
        "word/document.xml": f"<w:document {_WORD}><w:body>{body}</w:body></w:document>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # of the year 1980, always


def _paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{escape(text)}</w:t></w:r></w:p>"


if __name__ == "__main__":
    write_pdf(FOLDER / "handbook.pdf")
    write_docx(FOLDER / "handbook.docx")
