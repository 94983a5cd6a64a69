"""Media types: which lanes carry a body, and what a client accepts."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import LaneType
from python_multipart.multipart import parse_options_header

from lanemesh_orchestrator.reasons import Reason

JSON = "application/json"
QUESTION = "application/vnd.lanemesh.question+json"
"""The type of a question in the form of the lane `questions`."""
FORM = "multipart/form-data"
PLAIN = "text/plain"
UNKNOWN = "application/octet-stream"
"""The type that programs give to files whose type they do not know."""

MEDIA = {"image": LaneType.IMAGE, "audio": LaneType.AUDIO, "video": LaneType.VIDEO}
"""The lanes of media, by the first part of the type."""
TYPES_OF_LANE = {
    LaneType.DATA: JSON,
    LaneType.TEXT: "text/*",
    LaneType.QUESTIONS: QUESTION,
    LaneType.IMAGE: "image/*",
    LaneType.AUDIO: "audio/*",
    LaneType.VIDEO: "video/*",
}
"""The type of the bodies that enter by a lane."""
CHARSETS = {
    "utf-8": "utf-8-sig",
    "us-ascii": "ascii",
    "iso-8859-1": "latin-1",
    "utf-16": "utf-16",
    "windows-1252": "cp1252",
}
"""The encodings of texts, by their names at IANA."""
_NAME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True)
class ContentType:
    """The type of a body, or of a part of a form."""

    name: str
    """Such as "text/plain", in lower case; empty: none is given."""
    parameters: Mapping[bytes, bytes]
    """Its parameters, such as the charset."""

    @property
    def lane(self) -> LaneType | None:
        """The lane of bodies of this type; None if there is none."""
        if self.name == QUESTION:
            return LaneType.QUESTIONS
        if self.name == JSON or (self.name.startswith("application/") and self.name.endswith("+json")):
            return LaneType.DATA
        kind = self.name.partition("/")[0]
        return LaneType.TEXT if kind == "text" else MEDIA.get(kind)

    @property
    def has_encoding(self) -> bool:
        """Whether a charset is given."""
        return b"charset" in self.parameters

    @property
    def encoding(self) -> str:
        """The codec of its text. Raises LanemeshError for an unknown charset ("unsupported-type")."""
        given = self.parameters.get(b"charset", b"utf-8").decode("latin-1").lower()
        if given not in CHARSETS:
            raise unsupported(
                f'the charset "{given[:40]}" is not one of {", ".join(CHARSETS)}. Send the text in one of them'
            )
        return CHARSETS[given]


def content_type(header: str, file_name: str = "") -> ContentType:
    """The type that a header gives.

    Args:
        header: the value of `Content-Type`; empty: there is none.
        file_name: the name of a file, which decides if the header names no type, or that of unknown files.

    Raises:
        LanemeshError: the header is not a media type ("unsupported-type").
    """
    name, parameters = parse_options_header(header)
    text = name.decode("latin-1")
    if text in ("", UNKNOWN) and file_name:
        text = mimetypes.guess_type(file_name)[0] or text
    if text and not _NAME.fullmatch(text):
        raise unsupported(f'"{text[:80]}" is not a media type. Send a Content-Type such as {PLAIN}')
    return ContentType(text, parameters)


def is_media_type(text: str) -> bool:
    """Whether a text is the type of an image, of audio or of video, and safe in a header."""
    return _NAME.fullmatch(text) is not None and text.partition("/")[0] in MEDIA


def unsupported(message: str) -> LanemeshError:
    """The error of a body of a type that is not taken."""
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason=Reason.UNSUPPORTED_TYPE, message=message))


def preference(accept: str, name: str) -> float:
    """How much a client wants a type, from 0 (not at all) to 1.

    Args:
        accept: its header `Accept`; empty: it takes anything.
        name: the type, such as "application/json".
    """
    if not accept.strip():
        return 1.0
    best = (-1, 0.0)
    for entry in accept[:4_096].lower().split(","):
        pattern, *parameters = (part.strip() for part in entry.split(";"))
        rank = _rank(pattern, name)
        if rank > best[0]:
            best = (rank, _quality(parameters))
    return best[1]


def _rank(pattern: str, name: str) -> int:
    """How exactly a pattern names a type: 2, 1 or 0; -1 if it does not."""
    if pattern == name:
        return 2
    if pattern == f"{name.partition('/')[0]}/*":
        return 1
    return 0 if pattern == "*/*" else -1


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return float(value) if re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", value.strip()) else 0.0
    return 1.0
