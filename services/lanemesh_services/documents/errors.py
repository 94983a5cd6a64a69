"""The errors of files that cannot be read. Each message has the source of the file, what is wrong, and what to do next."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError


class FileUnreadable(LanemeshError):
    """A file cannot be read. Its fault has the `source` of the file in its details."""


def empty(source: str) -> FileUnreadable:
    """A file has no bytes."""
    return _fault(Code.INVALID_ARGUMENT, "file-empty", source, "has no bytes. Send a file with content")


def broken(source: str, kind: str, why: object) -> FileUnreadable:
    """A file is not of the form of its type."""
    what = f"cannot be read as {kind}: {_short(why)}. Open it in the program that made it and save it again"
    return _fault(Code.INVALID_ARGUMENT, "file-broken", source, what)


def encrypted(source: str, *, given: bool) -> FileUnreadable:
    """A file needs a password; `given`: the component has one, which is wrong."""
    hint = "config.password does not open it" if given else "set config.password"
    what = f"is protected by a password: {hint}, or send the file without protection"
    return _fault(Code.FAILED_PRECONDITION, "file-encrypted", source, what)


def too_large(source: str, what: str, limit: str) -> FileUnreadable:
    """A file, or what it expands to, is above a limit."""
    return _fault(Code.RESOURCE_EXHAUSTED, "file-too-large", source, f"{what}; the limit is {limit}")


def too_deep(source: str, limit: int) -> FileUnreadable:
    """A file is nested in other files too deeply."""
    what = f"is nested in more than {limit} files. Send it alone, or raise config.depth"
    return _fault(Code.RESOURCE_EXHAUSTED, "file-too-deep", source, what)


def unknown_type(source: str, mime_type: str) -> FileUnreadable:
    """A file is of a type that no reader knows."""
    what = (
        f'is of a type that cannot be read ("{mime_type or "unknown"}"). Readable are PDF, DOCX, PPTX, XLSX, HTML, Markdown, '
        "EML, MSG, CSV, JSON, EPUB, ZIP, texts of any encoding, images, audio and video. Save it as one of these"
    )
    return _fault(Code.INVALID_ARGUMENT, "file-type-unknown", source, what)


def misdeclared(source: str, why: str) -> FileUnreadable:
    """An input is no file."""
    what = f'is no file: {why}. Send {{"name", "mime_type", "content_base64"}}, or a document with a file'
    return _fault(Code.INVALID_ARGUMENT, "file-misdeclared", source, what)


def several_inputs(component: str) -> LanemeshError:
    """Several inputs of a parser are connected."""
    message = f"{component}: several of the inputs documents, data and tags are connected. Connect one; use a parse for each other"
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="several-inputs", message=message))


def _fault(code: Code, reason: str, source: str, what: str) -> FileUnreadable:
    message = f"the file {source or 'without a name'} {what}"
    return FileUnreadable(Fault(code=code, reason=reason, message=message, details={"source": source}))


def _short(why: object) -> str:
    text = " ".join(str(why).split())[:300].rstrip(".")
    return text or type(why).__name__


def bad_tokenizer(file: object, why: object) -> LanemeshError:
    """A tokenizer cannot be used."""
    message = (
        f"the tokenizer {file} cannot be used: {_short(why)}. Set config.tokenizer to the tokenizer.json of a model"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-tokenizer", message=message))


def too_many_open(limit: int) -> LanemeshError:
    """Too many texts arrive in pieces at the same time."""
    message = f'more than {limit:,} texts arrive in pieces at the same time. Set "merge": "group" on the edge'
    return LanemeshError(Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many-texts", message=message))
