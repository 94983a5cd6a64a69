"""Which reader reads a file: by its first bytes, its media type and its name, in this order."""

from __future__ import annotations

import io
import mimetypes

from lanemesh_services.documents.errors import broken, empty, encrypted, unknown_type
from lanemesh_services.documents.reading import archives, encodings, epub, html, mail, media, office, pdf, plain
from lanemesh_services.documents.reading.parts import File, Reader

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_OF_ENDING: dict[str, Reader] = {
    **dict.fromkeys(("html", "htm", "xhtml"), html.read_html),
    **dict.fromkeys(("csv", "tsv", "tab"), plain.read_csv),
    **dict.fromkeys(("json", "jsonl", "ndjson"), plain.read_json),
    **dict.fromkeys(("md", "markdown", "txt", "text", "log", "rst"), plain.read_text),
    "eml": mail.read_eml,
}
_OF_TYPE: dict[str, Reader] = {
    "text/html": html.read_html,
    "application/xhtml+xml": html.read_html,
    "text/csv": plain.read_csv,
    "text/tab-separated-values": plain.read_csv,
    "application/json": plain.read_json,
    "application/x-ndjson": plain.read_json,
    "message/rfc822": mail.read_eml,
}
_MEDIA = {"image": media.read_image, "audio": media.read_audio, "video": media.read_video}
_SIGNATURES: tuple[tuple[bytes, Reader], ...] = (
    (b"\x89PNG\r\n", media.read_image),
    (b"\xff\xd8\xff", media.read_image),
    (b"GIF8", media.read_image),
    (b"fLaC", media.read_audio),
    (b"ID3", media.read_audio),
    (b"OggS", media.read_audio),
)


def reader_of(file: File) -> Reader:
    """The reader of a file.

    Raises:
        FileUnreadable: it is empty, encrypted as a whole, or of a type that no reader knows.
    """
    content = file.content
    if not content:
        raise empty(file.name)
    if b"%PDF-" in content[:1024]:
        return pdf.read_pdf
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _of_archive(content)
    if content.startswith(_OLE):
        return _of_compound(file)
    kind = file.mime_type.split(";")[0].strip().lower()
    ending = file.name.lower().rpartition(".")[2]
    for claimed in (kind, mimetypes.guess_type(file.name)[0] or ""):
        if medium := _MEDIA.get(claimed.split("/")[0]):
            return medium
    for signature, reader in _SIGNATURES:
        if content.startswith(signature):
            return reader
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return media.read_audio
    if content[4:8] == b"ftyp":
        return media.read_video
    return _of_text(file, kind, ending)


def _of_text(file: File, kind: str, ending: str) -> Reader:
    named = _CLAIMS.get(ending, "") or kind
    if named in _BINARY:
        raise broken(file.name, _BINARY[named], "its first bytes are not those of such a file")
    if reader := _OF_TYPE.get(kind) or _OF_ENDING.get(ending):
        return reader
    if encodings.encoding_of(file.content) is None:
        raise unknown_type(file.name, file.mime_type)
    start = file.content[:1024].lstrip().lower()
    return html.read_html if start.startswith((b"<!doctype html", b"<html")) else plain.read_text


_BINARY = {
    "application/pdf": "PDF",
    "application/epub+zip": "EPUB",
    "application/zip": "ZIP",
    "application/vnd.ms-outlook": "MSG",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "DOCX",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "PPTX",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "XLSX",
}
"""Types whose files have signatures."""
_CLAIMS = {name.lower(): kind for kind, name in _BINARY.items()}


def _of_archive(content: bytes) -> Reader:
    names = archives.names_in(content)
    for name, reader in (
        ("word/document.xml", office.read_docx),
        ("ppt/presentation.xml", office.read_pptx),
        ("xl/workbook.xml", office.read_xlsx),
        ("META-INF/container.xml", epub.read_epub),
    ):
        if name in names:
            return reader
    return archives.read_zip


def _of_compound(file: File) -> Reader:
    """The reader of a compound file of Microsoft's: an e-mail, an encrypted document, or one of the old forms."""
    import olefile

    try:
        with olefile.OleFileIO(io.BytesIO(file.content)) as container:
            if container.exists("EncryptedPackage"):
                raise encrypted(file.name, given=False)
            if container.exists("__properties_version1.0"):
                return mail.read_msg
    except (OSError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise broken(file.name, "compound file", error) from None
    raise unknown_type(file.name, file.mime_type)
