"""Conversion of a caller's arguments to protobuf messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from lanemesh._grpc.run_depth import RUN_DEPTH
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.rendering import rendered, valid_unicode
from lanemesh.times import set_seconds
from lanemesh.v1 import run_pb2, update_pb2

SHOWN_CHARACTERS = 80
"""Most characters that an error shows of a text that is not valid Unicode."""


def wire_text(text: str, what: str) -> str:
    """Returns the text itself.

    Args:
        text: the caller's text.
        what: a description of the text, such as "the id of a run".

    Raises:
        LanemeshError: it is not valid Unicode ("not-text").
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = valid_unicode(text[:SHOWN_CHARACTERS])
        message = (
            f'{what} is not valid Unicode: half of a surrogate pair is at character {error.start:,} of "{shown}". '
            "Write the whole character, or leave it out"
        )
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="not-text", message=message)) from None
    return text


class Written(Protocol):
    """A pipeline written in Python: `lanemesh.Pipeline`."""

    def to_json(self) -> str:
        """The document as JSON text."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployed pipeline, which runs by its name: `client.run(Deployed("chat"), input="...")`."""

    name: str
    """The name that it was deployed under."""
    version: int = 0
    """Its version; 0: the current one."""

    @classmethod
    def parse(cls, text: str) -> Deployed:
        """The deployed pipeline that "@NAME" or "@NAME:VERSION" names. Raises LanemeshError for another text ("bad-name")."""
        name, colon, version = text.removeprefix("@").partition(":")
        is_version = version.isascii() and version.isdecimal() and len(version) < 10
        if not text.startswith("@") or not name or (colon and not is_version):
            message = f"{rendered(text)}: write a deployed pipeline as @NAME, such as @chat, or @NAME:VERSION, such as @chat:2"
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-name", message=message))
        return cls(name, int(version or 0))


@dataclass(frozen=True, slots=True)
class NamedText:
    """A pipeline document with a name for its runs, used if the document has none."""

    text: str
    """The document: JSON."""
    name: str
    """The name, such as that of its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A session that the orchestrator keeps: `session=Conversation(id=...)` makes a run its next turn. The first question of the
    run gets the earlier turns as its history, unless it has one."""

    id: str
    """The session: 1 to 128 printable characters that others cannot guess. It is created by its first turn."""
    owner: str = ""
    """Its owner, at most 128 characters: reading and continuing it needs the same one; empty: the id suffices."""
    history_turns: int = 20
    """The maximum number of earlier turns in the history, from 1 to 1,000."""
    history_bytes: int = 64 * 1024
    """The maximum size of the history, from 1 to 1 MiB; the oldest turns are left out."""
    time_to_live: float = 30 * 86_400.0
    """How long it is kept after its last use, in seconds, up to 365 days."""
    append_history: bool = False
    """The history of the first question follows the earlier turns and is kept in its turn, such as the results of tools. Otherwise
    it replaces them."""


SessionId = str | Conversation
"""The session of a run: its id, or a conversation that the orchestrator keeps."""

MAX_NAME = 200
"""Longest name of a document, in characters."""
PipelineDocument = str | Path | Mapping[str, Any] | Written | Deployed | NamedText
"""A pipeline: JSON text, a file with it, the same as a dict, one written in Python, or a deployed one by its name, as
`Deployed("chat")` or "@chat"."""


Trace = Literal["none", "metadata", "summary", "full"]
"""The trace level: the report of each item that reaches a node."""


def run_spec(
    pipeline: PipelineDocument,
    settings: Mapping[str, Any] | None,
    timeout: float | None = None,
    trace: Trace | None = None,
    variables: Mapping[str, str] | None = None,
    session: SessionId = "",
    source: str = "",
) -> run_pb2.RunSpec:
    """A pipeline, with config overrides and run options, as a `RunSpec`.

    Raises:
        TypeError: it is not a pipeline.
        ValueError: there is no such trace level.
        OSError: a file cannot be read.
        LanemeshError: the name of a setting or of a deployed pipeline is not valid Unicode, or "@NAME" is misspelt.
    """
    if isinstance(pipeline, str) and pipeline.startswith("@"):
        pipeline = Deployed.parse(pipeline)
    if trace is not None and trace not in get_args(Trace):
        raise ValueError(f"trace is one of {', '.join(get_args(Trace))}, not {rendered(trace, 40)}")
    text = name = ""
    if isinstance(pipeline, Deployed):
        pass  # the orchestrator has its text
    elif isinstance(pipeline, Path):
        text, name = pipeline.read_text(encoding="utf-8-sig"), pipeline.name
    elif isinstance(pipeline, NamedText):
        text, name = pipeline.text, pipeline.name
    elif isinstance(pipeline, Mapping):
        text = json.dumps(pipeline)
    elif isinstance(pipeline, str):
        if pipeline.endswith((".pipe", ".json")):
            raise TypeError(
                f"a text is a pipeline document in JSON; for a file use pathlib.Path({rendered(pipeline, 200)})"
            )
        text = pipeline
    elif hasattr(pipeline, "to_json"):
        text = pipeline.to_json()
    else:
        kinds = "a lanemesh.Pipeline, a dict, JSON text, or the pathlib.Path of a .pipe file"
        raise TypeError(f"a pipeline is {kinds}, not {rendered(pipeline)}")
    named = {wire_text(key, "the name of a setting"): json.dumps(value) for key, value in (settings or {}).items()}
    spec = run_pb2.RunSpec(settings_json=named)
    for key, value in (variables or {}).items():
        spec.variables[wire_text(key, "the name of a variable")] = wire_text(value, f"the variable {rendered(key)}")
    spec.depth = RUN_DEPTH.get()
    spec.source_component = wire_text(source, "the id of a source")
    if isinstance(session, Conversation):
        set_conversation(spec, session)
    else:
        spec.session_id = wire_text(session, "the id of a session")
    spec.name = "".join(c for c in name if c.isprintable())[:MAX_NAME]
    if isinstance(pipeline, Deployed):
        spec.deployment.name = wire_text(pipeline.name, "the name of a deployed pipeline")
        spec.deployment.version = pipeline.version
        spec.deployment.SetInParent()
    else:
        spec.pipeline_json = valid_unicode(text)  # as JSON escapes; the orchestrator rejects them at their position
    if trace is not None:
        spec.trace = update_pb2.TraceLevel.Value(f"TRACE_LEVEL_{trace.upper()}")
    if timeout is not None:
        set_seconds(spec.timeout, timeout)
    return spec


def set_conversation(spec: run_pb2.RunSpec, conversation: Conversation) -> None:
    """Makes a run the next turn of a session.

    Raises:
        ValueError: the history is not greater than 0.
        LanemeshError: the id or the owner is not valid Unicode.
    """
    if conversation.history_turns < 1 or conversation.history_bytes < 1:
        raise ValueError("history_turns and history_bytes are greater than 0")
    spec.session_id = wire_text(conversation.id, "the id of a session")
    spec.conversation.owner = wire_text(conversation.owner, "the owner of a session")
    spec.conversation.history_turns = conversation.history_turns
    spec.conversation.history_bytes = conversation.history_bytes
    spec.conversation.append_history = conversation.append_history
    set_seconds(spec.conversation.time_to_live, conversation.time_to_live)


def input_list(one: Any, many: Iterable[Any] | AsyncIterable[Any] | None) -> Iterable[Any] | AsyncIterable[Any] | None:
    """One input, or many, as a sequence of inputs. Raises ValueError if both are given, TypeError if `many` is a single value."""
    check_inputs(one, many)
    return [one] if one is not None else many


def one_or_many(one: Any, many: Iterable[Any] | None) -> Iterable[Any]:
    """The same for inputs that are all available."""
    check_inputs(one, many)
    return [one] if one is not None else many or ()


def check_inputs(one: Any, many: object) -> None:
    """Raises ValueError if one input and many are given, TypeError if `many` is a single value."""
    if one is not None and many is not None:
        raise ValueError("pass either input or inputs")
    is_one = isinstance(many, (str, bytes, bytearray, Mapping)) or not isinstance(many, (Iterable, AsyncIterable))
    if many is not None and is_one:
        raise TypeError(
            f"inputs must be iterable, such as a list, not {rendered(many)}; pass a single value as input=..."
        )
