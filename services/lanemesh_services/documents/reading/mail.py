"""E-mails: their headers and text, and their attachments."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy
from typing import Any

from lanemesh_services.documents.errors import broken, encrypted, too_large
from lanemesh_services.documents.reading.html import parts_of_html
from lanemesh_services.documents.reading.parts import Attached, File, Limits, Omitted, Part, Text

MAX_ATTACHMENTS = 1_000
"""Most attachments of one e-mail."""
MAX_BYTES = 128 * 1024 * 1024
"""Largest e-mail, which is decoded as a whole."""
MAX_HEADER = 20_000
"""Longest header in characters; the rest of a longer one is left out. The parser of Python takes quadratic time for it."""
_HEADERS = ("From", "To", "Cc", "Date", "Subject")


class _BoundedPolicy(EmailPolicy):
    """The default policy, with headers of a bounded length, also those of the parts of an e-mail."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """Name and value of a header, before it is parsed."""
        name, value = super().header_source_parse(sourcelines)
        return name, value[:MAX_HEADER]


_BOUNDED = _BoundedPolicy()


def read_eml(file: File, limits: Limits) -> Iterator[Part]:
    """The headers with the text, as plain text or Markdown, then the attachments."""
    if len(file.content) > MAX_BYTES:
        raise too_large(file.name, f"has {len(file.content):,} bytes", f"{MAX_BYTES:,} for an e-mail")
    message = BytesParser(policy=_BOUNDED).parsebytes(file.content)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise broken(file.name, "e-mail", "it has no headers")
    if cut := sorted({name for name, value in message.raw_items() if len(value) == MAX_HEADER}):
        yield Omitted(f"the headers {', '.join(cut):.200} of {file.name} are read up to {MAX_HEADER:,} characters")
    headers = {name: str(message.get(name, "")) for name in _HEADERS}
    try:
        body = message.get_body(("plain", "html"))
        text, is_html = (str(body.get_content()), body.get_content_subtype() == "html") if body else ("", False)
    except (LookupError, ValueError, AttributeError, KeyError) as error:  # an unknown encoding, for example
        yield Omitted(f"the text of {file.name} cannot be read: {error!s:.200}")
        text, is_html = "", False
    yield from _body(headers, text, is_html, file, limits)
    for number, part in enumerate(message.iter_attachments(), start=1):
        if number > MAX_ATTACHMENTS:
            yield Omitted(f"{file.name} has more than {MAX_ATTACHMENTS:,} attachments")
            return
        content = part.as_bytes() if part.get_content_maintype() == "message" else part.get_payload(decode=True)
        if part.get_content_maintype() == "message" and part.is_multipart():
            content = part.get_payload(0).as_bytes()  # type: ignore[union-attr]
        if not isinstance(content, bytes):
            yield Omitted(f"attachment {number} of {file.name} has no content")
            continue
        limits.expand(file.name, len(content))
        name = part.get_filename() or f"attachment {number}"
        yield Attached(File(f"{file.name}/{name}", part.get_content_type(), content))


def read_msg(file: File, limits: Limits) -> Iterator[Part]:
    """The same of an e-mail as Outlook saves it ([MS-OXMSG])."""
    import olefile

    try:
        with olefile.OleFileIO(io.BytesIO(file.content)) as container:
            if container.exists("EncryptedPackage"):
                raise encrypted(file.name, given=bool(limits.password))
            headers = {
                "From": _property(container, "", 0x0C1A) or _property(container, "", 0x0042),
                "To": _property(container, "", 0x0E04),
                "Cc": _property(container, "", 0x0E03),
                "Date": _header(_property(container, "", 0x007D), "date"),
                "Subject": _property(container, "", 0x0037),
            }
            text, html = _property(container, "", 0x1000), _property(container, "", 0x1013)
            attachments = list(_attachments(container))
    except (OSError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise broken(file.name, "MSG", error) from None
    yield from _body(headers, text or html, not text and bool(html), file, limits)
    for number, (name, mime_type, content) in enumerate(attachments, start=1):
        limits.expand(file.name, len(content))
        yield Attached(File(f"{file.name}/{name or f'attachment {number}'}", mime_type, content))


def _body(headers: dict[str, str], text: str, is_html: bool, file: File, limits: Limits) -> Iterator[Part]:
    known = {name: value for name, value in headers.items() if value}
    head = "\n".join(f"{name}: {value}" for name, value in known.items())
    about = {name.lower(): value for name, value in known.items() if name != "Subject"}
    about |= {"title": headers["Subject"]} if headers["Subject"] else {}
    if not is_html:
        yield Text(_joined(head, text.strip().replace("\r\n", "\n")), about, expected=True)
        return
    for part in parts_of_html(text, file.name, limits, {}):
        if isinstance(part, Text):
            yield replace(part, text=_joined(head, part.text), metadata={**part.metadata, **about})
            head = ""
        else:
            yield part


def _joined(head: str, text: str) -> str:
    return "\n\n".join(part for part in (head, text) if part)


def _property(container: Any, folder: str, number: int) -> str:
    """A property with a text, in Unicode, in the code page of the file, or as bytes; empty if there is none."""
    for kind, encoding in (("001F", "utf-16-le"), ("001E", "cp1252"), ("0102", "utf-8")):
        name = f"{folder}__substg1.0_{number:04X}{kind}"
        if container.exists(name):
            return str(container.openstream(name).read().decode(encoding, "replace").rstrip("\0"))
    return ""


def _header(headers: str, name: str) -> str:
    lines = (line.partition(":") for line in headers.splitlines())
    return next((value.strip() for key, _, value in lines if key.lower() == name), "")


def _attachments(container: Any) -> Iterator[tuple[str, str, bytes]]:
    folders = sorted({entry[0] for entry in container.listdir() if entry[0].startswith("__attach_version1.0_")})
    for folder in folders[:MAX_ATTACHMENTS]:
        content = f"{folder}/__substg1.0_37010102"
        if container.exists(content):
            name = _property(container, f"{folder}/", 0x3707) or _property(container, f"{folder}/", 0x3704)
            yield name, _property(container, f"{folder}/", 0x370E), container.openstream(content).read()
