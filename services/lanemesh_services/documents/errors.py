"""The errors of files that cannot be read. Each message has the source of the file, what is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

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


def several_inputs(component: str, inputs: Sequence[str]) -> LanemeshError:
    """Several inputs of a component are connected, of which it takes one."""
    message = (
        f"{component}: several of the inputs {', '.join(inputs)} are connected. "
        "Connect one, and a component of its own for each other"
    )
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


def cut_off(what: str, source: str) -> LanemeshError:
    """The answer of a model reached its limit."""
    message = (
        f"the {what} of {source or 'a text'} is cut off: the model reached max_tokens or the end of its context. "
        "Raise max_tokens of the model, or lower the size of the parts in the config of this component"
    )
    details = {"source": source}
    return LanemeshError(Fault(code=Code.OUT_OF_RANGE, reason="answer-cut-off", message=message, details=details))


def not_followed(problems: str, source: str) -> LanemeshError:
    """A structured answer does not follow its schema, also after a repair."""
    message = (
        f"the model does not follow the JSON schema for {source or 'a text'}: {problems}. "
        "Make the schema simpler, describe its fields, or use a larger model"
    )
    details = {"source": source}
    return LanemeshError(
        Fault(code=Code.INVALID_ARGUMENT, reason="schema-not-followed", message=message, details=details)
    )


def bad_schema(why: str) -> LanemeshError:
    """A schema of an extraction is invalid."""
    message = f"config.schema is no valid JSON schema: {_short(why)}. Correct it; a result is an object with properties"
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-schema", message=message))


def no_memory(component: str) -> LanemeshError:
    """Pseudonyms need a memory, and none is connected."""
    message = (
        f"{component} keeps pseudonyms in a memory, and none is connected. Add a memory_internal with "
        f'"control": [{{"classType": "memory", "from": "{component}"}}], and connect it to the deanonymize as well'
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="pseudonyms-not-kept", message=message))


def no_key(component: str) -> LanemeshError:
    """Hashes without a key could be undone by guessing."""
    message = (
        f"{component}: config.mode hash needs config.key, of 8 characters or more: without it names can be guessed"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="key-missing", message=message))


def other_key(component: str) -> LanemeshError:
    """A stored pseudonym was encrypted with another key, or with none."""
    message = (
        f"{component}: a pseudonym was stored with another config.key. Give anonymize and deanonymize the same key"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-pseudonym-key", message=message))


def bad_languages(codes: Sequence[str]) -> LanemeshError:
    """Languages are not known."""
    message = f"config.languages has unknown codes: {', '.join(codes)}. Use ISO 639-1 codes such as en, de, fr, zh"
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-languages", message=message))
