"""Files of every kind that `parse` reads, made on the spot."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any

PNG = (
    b"\x89PNG\r\n\x1a\n"
    + b"\0\0\0\rIHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0"
    + struct.pack(">I", zlib.crc32(b"IHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0"))
    + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IDAT", zlib.compress(b"\0\xff\0\0\0\xff\0" * 2)), (b"IEND", b""))
    )
)
"""A picture of 2 x 2 pixels."""


def pdf(pages: Sequence[str], *, title: str = "", picture: tuple[int, int] | None = None, password: str = "") -> bytes:
    """A PDF with these texts, one a page; an empty one has none. `picture`: the width and height of a picture on each page."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject, NumberObject

    writer = PdfWriter()
    names = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica", "/Encoding": "/WinAnsiEncoding"}
    font = writer._add_object(DictionaryObject({NameObject(a): NameObject(b) for a, b in names.items()}))
    resources = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
    if picture is not None:
        width, height = picture
        stream = DecodedStreamObject()
        stream.set_data(zlib.compress(b"\xff\0\0" * (width * height if width * height < 10_000 else 1)))
        for key, value in {"/Width": width, "/Height": height, "/BitsPerComponent": 8}.items():
            stream[NameObject(key)] = NumberObject(value)
        for key, name in {"/Subtype": "/Image", "/ColorSpace": "/DeviceRGB", "/Filter": "/FlateDecode"}.items():
            stream[NameObject(key)] = NameObject(name)
        image = writer._add_object(stream)
        resources[NameObject("/XObject")] = DictionaryObject({NameObject("/Im1"): image})
    for text in pages:
        page = writer.add_blank_page(595, 842)
        lines = b"".join(b"(" + line.encode("cp1252") + b") Tj 0 -14 Td\n" for line in text.splitlines())
        content = DecodedStreamObject()
        content.set_data(b"BT /F1 12 Tf 50 790 Td\n" + lines + b"ET\n")
        page[NameObject("/Contents")] = writer._add_object(content)
        page[NameObject("/Resources")] = resources
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="AES-256")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def archive(files: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return written.getvalue()


_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def docx(paragraphs: Sequence[str], *, table: Sequence[Sequence[str]] = (), picture: bytes = b"") -> bytes:
    """A DOCX with paragraphs, of which those that begin with "# " are headings, a table and a picture."""
    body = "".join(_paragraph(text) for text in paragraphs)
    if table:
        rows = "".join(
            "<w:tr>" + "".join(f"<w:tc>{_paragraph(cell)}</w:tc>" for cell in row) + "</w:tr>" for row in table
        )
        body += f"<w:tbl>{rows}</w:tbl>"
    files: dict[str, str | bytes] = {}
    relation = ""
    if picture:
        drawing = (
            '<wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing">'
            '<a:graphic xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:graphicData>'
            '<pic:pic xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:blipFill>'
            f'<a:blip xmlns:r="{_OFFICE}" r:embed="rId9"/></pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline>'
        )
        body += f"<w:p><w:r><w:drawing>{drawing}</w:drawing></w:r></w:p>"
        files["word/media/image1.png"] = picture
        relation = f'<Relationship Id="rId9" Type="{_OFFICE}/image" Target="media/image1.png"/>'
    style = f'<w:styles {_W}><w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style></w:styles>'
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    files |= {
        "[Content_Types].xml": f'<Types xmlns="{types}"><Default Extension="xml" ContentType="application/xml"/>'
        '<Default Extension="png" ContentType="image/png"/>'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" Type="{_OFFICE}/officeDocument" '
        'Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/styles" Target="styles.xml"/>{relation}</Relationships>',
        "word/styles.xml": style,
        "word/document.xml": f"<w:document {_W}><w:body>{body}</w:body></w:document>",
    }
    return archive(files)


def _paragraph(text: str) -> str:
    style = '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>' if text.startswith("# ") else ""
    return f"<w:p>{style}<w:r><w:t>{text.removeprefix('# ')}</w:t></w:r></w:p>"


def pptx(slides: Sequence[tuple[str, str]], *, table: Sequence[Sequence[str]] = (), picture: bytes = b"") -> bytes:
    """A PPTX with a title and a text on each slide; the last one has the table and the picture too."""
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    for title, text in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    if table:
        grid = slide.shapes.add_table(len(table), len(table[0]), *[Inches(1)] * 4).table
        for number, row in enumerate(table):
            for place, cell in enumerate(row):
                grid.cell(number, place).text = cell
    if picture:
        slide.shapes.add_picture(io.BytesIO(picture), Inches(1), Inches(1))
    written = io.BytesIO()
    deck.save(written)
    return written.getvalue()


def xlsx(sheets: Mapping[str, Sequence[Sequence[Any]]]) -> bytes:
    """An XLSX with these rows by sheet."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def epub(chapters: Sequence[str], *, title: str, picture: bytes = b"") -> bytes:
    """An EPUB with these chapters, each the body of a page, and a picture."""
    items = "".join(
        f'<item id="c{number}" href="{number}.xhtml" media-type="application/xhtml+xml"/>'
        for number in range(len(chapters))
    )
    order = "".join(f'<itemref idref="c{number}"/>' for number in range(len(chapters)))
    pages = {
        f"OPS/{number}.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{chapter}</body></html>'
        for number, chapter in enumerate(chapters)
    }
    files: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf"><metadata '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></metadata><manifest>{items}'
        f'<item id="p" href="p.png" media-type="image/png"/></manifest><spine>{order}</spine></package>',
        "OPS/p.png": picture or PNG,
        **pages,
    }
    return archive(files)


def eml(text: str, *, html: str = "", attachments: Mapping[str, tuple[str, bytes]] | None = None) -> bytes:
    """An e-mail; each attachment has a media type and its bytes."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ann <ann@example.com>", "bob@example.com", "Täglich"
    message.set_content(html or text, subtype="html" if html else "plain")
    for name, (kind, content) in (attachments or {}).items():
        message.add_attachment(content, maintype=kind.split("/")[0], subtype=kind.split("/")[1], filename=name)
    return message.as_bytes()


def msg(subject: str, text: str, attachments: Mapping[str, bytes]) -> bytes:
    """An e-mail as Outlook saves it."""
    unicode = {"__substg1.0_0037001F": subject, "__substg1.0_1000001F": text, "__substg1.0_0C1A001F": "Ann"}
    streams: dict[str, Any] = {name: value.encode("utf-16-le") for name, value in unicode.items()}
    streams["__properties_version1.0"] = bytes(32)
    for number, (name, content) in enumerate(attachments.items()):
        streams[f"__attach_version1.0_#{number:08X}"] = {
            "__substg1.0_37010102": content,
            "__substg1.0_3707001F": name.encode("utf-16-le"),
        }
    return compound(streams)


def compound(streams: Mapping[str, Any]) -> bytes:
    """A compound file ([MS-CFB]) with these streams and, as mappings, folders. Streams are padded with zeros to 4,096 bytes."""
    entries: list[tuple[str, int, int, int, int, int]] = []  # name, type, next sibling, child, first sector, size
    data = b""
    sectors: list[list[int]] = []

    def add(content: Mapping[str, Any]) -> int:
        nonlocal data
        later = 0xFFFFFFFF
        for name, value in reversed(list(content.items())):
            if isinstance(value, Mapping):
                entries.append((name, 1, later, add(value), 0, 0))
            else:
                padded = value + bytes(-len(value) % 512) if len(value) >= 4096 else value.ljust(4096, b"\0")
                first = len(data) // 512
                data += padded
                sectors.append(list(range(first, first + len(padded) // 512)))
                size = len(value) if len(value) >= 4096 else 4096
                entries.append((name, 2, later, 0xFFFFFFFF, first, size))
            later = len(entries)  # the root comes first
        return later

    child = add(streams)
    entries.insert(0, ("Root Entry", 5, 0xFFFFFFFF, child, 0xFFFFFFFE, 0))
    directory = b"".join(map(_entry, entries))
    directory += bytes(-len(directory) % 512)
    first_directory = len(data) // 512
    sectors.append(list(range(first_directory, first_directory + len(directory) // 512)))
    total = first_directory + len(directory) // 512
    fat_sectors = 1
    while fat_sectors * 128 < total + fat_sectors:
        fat_sectors += 1
    table = [0xFFFFFFFF] * (fat_sectors * 128)
    for chain in sectors:
        for this, following in zip(chain, [*chain[1:], 0xFFFFFFFE], strict=True):
            table[this] = following
    for number in range(total, total + fat_sectors):
        table[number] = 0xFFFFFFFD
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIIIIIII", 0, fat_sectors, first_directory, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    places = [*range(total, total + fat_sectors), *[0xFFFFFFFF] * (109 - fat_sectors)]
    return header + struct.pack("<109I", *places) + data + directory + struct.pack(f"<{len(table)}I", *table)


def _entry(entry: tuple[str, int, int, int, int, int]) -> bytes:
    name, kind, following, child, first, size = entry
    written = name.encode("utf-16-le") + b"\0\0"
    return (
        written.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(written), kind, 1, 0xFFFFFFFF, following, child)
        + bytes(36)
        + struct.pack("<IQ", first, size)
    )
