"""From the text of a pipeline to a document: JSON that is well formed and has the right fields.

`parse` returns a document even if parts of it are invalid: these are omitted and reported in `Document.faults`, so that the checks
of the graph can report their faults together with these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, get_args

from lanemesh.node.names import DEPLOYED
from pydantic import BaseModel, JsonValue, ValidationError

from lanemesh_orchestrator.pipeline.entries import (
    EDITOR_KEYS,
    ComponentEntry,
    ControlEntry,
    InputEntry,
    PipelineEntry,
    RetryEntry,
)
from lanemesh_orchestrator.pipeline.faults import (
    MAX_FAULTS,
    PipelineFault,
    PipelineInvalid,
    escape,
    listed,
    nearest,
    quoted,
)
from lanemesh_orchestrator.pipeline.json_limits import MAX_DEPTH, finite, limit_faults, no_constant
from lanemesh_orchestrator.pipeline.variables import ClientVariables

MAX_CHARACTERS = 16 * 1024 * 1024
"""Maximum length of a document, in characters."""
MAX_COMPONENTS = 10_000
"""Maximum number of components."""
MAX_CONNECTIONS = 100_000
"""Maximum number of `input` and `control` entries of all components together."""

Settings = Mapping[str, JsonValue]
"""Changes to configs: "component.key", or deeper "component.key.key", to a value."""

_EntryT = TypeVar("_EntryT", bound=BaseModel)
_UNNAMED = "unnamed"
_CONNECTING = ("lane", "from", "output", "input", "classType")
"""Fields of an `input` or `control` entry that identify its ends."""
_TUNING = ("buffer_limit", "buffer_bytes", "merge")
"""Those that do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentComponent:
    """One component of the document."""

    pointer: str
    """Where it stands, such as "/components/3"."""
    entry: ComponentEntry
    """Its fields without `input` and `control`. The id, or the provider, is empty if it could not be read."""
    inputs: Sequence[tuple[str, InputEntry]] = ()
    """Its `input` entries that could be read, each with its pointer."""
    controls: Sequence[tuple[str, ControlEntry]] = ()
    """Its `control` entries that could be read, each with its pointer."""
    lost_inputs: int = 0
    """`input` entries that could not be read."""
    lost_controls: int = 0
    """`control` entries that could not be read."""
    editor: Mapping[str, JsonValue] = field(default_factory=dict)
    """Values of editor keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A pipeline document."""

    components: Sequence[DocumentComponent]
    """Its components, in its order."""
    source: str | None = None
    """Id of the component that the client feeds, if the document has it."""
    name: str = ""
    """Name, for people."""
    timeout: float | None = None
    """Seconds that a run may take in all; None: any time."""
    trace: str = "none"
    """How much is reported of each item that reaches a node: "none", "metadata", "summary" or "full"."""
    version: int = 1
    """Version of the format."""
    editor: Mapping[str, JsonValue] = field(default_factory=dict)
    """Values of editor keys."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The values of `${NAME}` in configs. They are inserted only with the profiles, when the node types are known."""
    settings: Settings = field(default_factory=dict, repr=False)
    """Changes to configs."""
    folder: str = ""
    """The folder that relative paths in its configs are relative to; empty: they stay unchanged."""
    mesh: str = ""
    """Address of the orchestrator that reads it for a client; empty: the reader's own."""
    faults: Sequence[PipelineFault] = ()
    """The faults of the omitted parts."""


def parse(
    text: str,
    *,
    environment: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    folder: str = "",
    mesh: str = "",
) -> Document:
    """Reads a pipeline. Raises `PipelineInvalid` if it cannot be processed further: it is not JSON, not an object, not valid
    Unicode, too large, or has more than 1,000 faults."""
    tree, faults = load(text)
    plain, editor = _without_editor_keys(tree, PipelineEntry)
    listed_components = plain.get("components")
    head = _read(PipelineEntry, {**plain, "components": []} if "components" in plain else plain, "", faults)
    components: list[DocumentComponent] = []
    if isinstance(listed_components, list):
        if len(listed_components) > MAX_COMPONENTS:
            count = len(listed_components)
            message = f"The pipeline has {count} components; at most {MAX_COMPONENTS} are allowed (MAX_COMPONENTS)."
            raise PipelineInvalid([*faults, PipelineFault("/components", "too-large", message, "Split the pipeline.")])
        _check_connections(listed_components, faults)
        read = (_component(raw, f"/components/{index}", faults) for index, raw in enumerate(listed_components))
        components = [component for component in read if component is not None]
        if not listed_components:
            hint = "A pipeline needs at least one, such as a source."
            faults.append(PipelineFault("/components", "no-components", "The pipeline has no components.", hint))
    elif "components" in plain:
        faults.append(PipelineFault("/components", "wrong-type", "`components` must be an array.", "Write [...]."))
    return Document(
        components=components,
        source=head.source if head else None,
        name=head.name if head else "",
        timeout=head.timeout if head else None,
        trace=head.trace if head else "none",
        editor=editor,
        environment=environment if isinstance(environment, ClientVariables) else dict(environment or {}),
        settings=dict(settings or {}),
        folder=folder,
        mesh=mesh,
        faults=faults,
    )


def _check_connections(components: Sequence[Any], faults: Sequence[PipelineFault]) -> None:
    lists = (raw.get(field) for raw in components if isinstance(raw, dict) for field in ("input", "control"))
    count = sum(len(entries) for entries in lists if isinstance(entries, list))
    if count > MAX_CONNECTIONS:
        message = (
            f"The components have {count:,} connections; at most {MAX_CONNECTIONS:,} are allowed (MAX_CONNECTIONS)."
        )
        raise PipelineInvalid([*faults, PipelineFault("/components", "too-large", message, "Split the pipeline.")])


def load(text: str) -> tuple[dict[str, Any], list[PipelineFault]]:
    """The object that a text holds, and the faults of its duplicate keys. Raises `PipelineInvalid` if it holds none."""
    if len(text) > MAX_CHARACTERS:
        _refuse(
            "too-large",
            f"The document has {len(text)} characters; at most {MAX_CHARACTERS} are allowed (MAX_CHARACTERS).",
        )
    if not text.strip():
        _refuse("empty", "The document is empty.", 'Start with {"components": [...]}.')
    repeats: list[tuple[dict[str, Any], str]] = []

    def to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    repeats.append((made, key))
                seen.add(key)
        return made

    try:
        tree = json.loads(
            text.removeprefix("\ufeff"), object_pairs_hook=to_object, parse_constant=no_constant, parse_float=finite
        )
    except json.JSONDecodeError as error:
        _refuse("not-json", f"The document is not JSON: {error.msg}, in line {error.lineno} column {error.colno}.")
    except RecursionError:
        _refuse("too-deep", f"The document is nested too deeply; at most {MAX_DEPTH} levels are allowed (MAX_DEPTH).")
    except ValueError as error:
        _refuse("not-json", f"The document is not JSON: {error}.")
    if not isinstance(tree, dict):
        _refuse("wrong-type", f"The document is {_kind(tree)}, not an object.", 'Start with {"components": [...]}.')
    if faults := limit_faults(tree, text):
        raise PipelineInvalid(faults)
    return tree, _duplicate_keys(tree, repeats)


def _refuse(reason: str, message: str, hint: str = "") -> NoReturn:
    raise PipelineInvalid([PipelineFault("", reason, message, hint)]) from None


def _duplicate_keys(tree: dict[str, Any], repeats: Sequence[tuple[dict[str, Any], str]]) -> list[PipelineFault]:
    if not repeats:
        return []
    keys: dict[int, set[str]] = {}
    for made, key in repeats:
        keys.setdefault(id(made), set()).add(key)
    faults: list[PipelineFault] = []
    rest: list[tuple[str, Any]] = [("", tree)]
    while rest and len(faults) <= MAX_FAULTS:
        pointer, value = rest.pop()
        if isinstance(value, dict):
            for key in sorted(keys.get(id(value), ()))[: MAX_FAULTS + 1]:
                message = f"The key {quoted(key)} is duplicated here."
                faults.append(PipelineFault(f"{pointer}/{escape(key)}", "duplicate-key", message, "Keep one of them."))
            rest.extend((f"{pointer}/{escape(key)}", inner) for key, inner in value.items())
        elif isinstance(value, list):
            rest.extend((f"{pointer}/{index}", inner) for index, inner in enumerate(value))
    return faults


def _component(raw: Any, pointer: str, faults: list[PipelineFault]) -> DocumentComponent | None:
    if not isinstance(raw, dict):
        faults.append(PipelineFault(pointer, "wrong-type", f"A component must be an object, not {_kind(raw)}."))
        return None
    plain, editor = _without_editor_keys(raw, ComponentEntry)
    inputs, lost_inputs = _entries(InputEntry, plain.pop("input", []), f"{pointer}/input", faults)
    controls, lost_controls = _entries(ControlEntry, plain.pop("control", []), f"{pointer}/control", faults)
    entry = _read(ComponentEntry, plain, pointer, faults)
    if entry is None:
        return None
    if entry.provider.startswith("@"):
        entry = _of_deployed(entry, pointer, faults)
    return DocumentComponent(
        pointer=pointer,
        entry=entry,
        inputs=inputs,
        controls=controls,
        lost_inputs=lost_inputs,
        lost_controls=lost_controls,
        editor=editor,
    )


def _of_deployed(entry: ComponentEntry, pointer: str, faults: list[PipelineFault]) -> ComponentEntry:
    """The component of a deployed pipeline, whose provider is "@name"."""
    if "pipeline" in entry.config:
        message = f"The provider {quoted(entry.provider)} names the pipeline, so its config cannot have `pipeline`."
        faults.append(PipelineFault(f"{pointer}/config/pipeline", "bad-value", message, "Remove it."))
    config = {**entry.config, "pipeline": entry.provider}
    return entry.model_copy(update={"provider": DEPLOYED, "config": config})


def _entries(
    model: type[_EntryT], raw: Any, pointer: str, faults: list[PipelineFault]
) -> tuple[list[tuple[str, _EntryT]], int]:
    """The entries of an array that are right, each with its pointer, and how many are not."""
    if not isinstance(raw, list):
        message = f"`{pointer.rpartition('/')[2]}` must be an array, not {_kind(raw)}."
        faults.append(PipelineFault(pointer, "wrong-type", message, "Write [{...}]."))
        return [], 1
    entries: list[tuple[str, _EntryT]] = []
    for index, part in enumerate(raw):
        place, before = f"{pointer}/{index}", len(faults)
        entry = _read(model, part, place, faults)
        if entry is not None and not any(_hides_its_ports(fault, place) for fault in faults[before:]):
            entries.append((place, entry))
    return entries, len(raw) - len(entries)


def _hides_its_ports(fault: PipelineFault, place: str) -> bool:
    """Whether the ends of an entry are unknown because of a fault, so it cannot be checked further."""
    key = fault.pointer.removeprefix(f"{place}/")
    if fault.reason == "unknown-field":
        return nearest(key, _CONNECTING) is not None
    return key not in _TUNING


def _without_editor_keys(raw: Mapping[str, Any], model: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    editor = {key: raw[key] for key in EDITOR_KEYS if key in raw and key not in model.model_fields}
    return {key: value for key, value in raw.items() if key not in editor}, editor


def _read(model: type[_EntryT], raw: Any, pointer: str, faults: list[PipelineFault]) -> _EntryT | None:
    """The entry of a value, without invalid fields, and the faults of these."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
    if not isinstance(raw, dict):
        faults.append(PipelineFault(pointer, "wrong-type", f"This must be an object, not {_kind(raw)}."))
        return None
    by_place: dict[str, PipelineFault] = {}
    for problem in problems[: MAX_FAULTS + 1]:
        location = _in_document(raw, problem["loc"])
        if location is None:
            continue
        fault = _fault(model, raw, pointer, problem["type"], problem["msg"], location)
        by_place.setdefault(f"{fault.pointer} {fault.message if fault.reason == 'missing-field' else ''}", fault)
    faults.extend(by_place.values())
    if len(faults) > MAX_FAULTS:
        raise PipelineInvalid(faults)
    broken = {problem["loc"][0] for problem in problems}
    kept = {key: value for key, value in raw.items() if key not in broken}
    lost: dict[str, Any] = {key: "" for key in ("id", "provider") if key in broken and key in model.model_fields}
    try:
        entry = model.model_validate({**kept, **dict.fromkeys(lost, _UNNAMED)})
    except ValidationError:
        return None
    return entry.model_copy(update=lost)


def _in_document(raw: dict[str, Any], location: Sequence[str | int]) -> Sequence[str | int] | None:
    """The location of a problem, without the name that pydantic gives to one of several alternatives; None: the problem of the
    alternative for strings if there is an object."""
    if len(location) < 2 or location[0] != "on_error" or not isinstance(raw["on_error"], dict):
        return location
    return [location[0], *location[2:]] if location[1] == RetryEntry.__name__ else None


def _fields(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The fields that the object around a place may have."""
    for part in location[:-1]:
        info = next((info for name, info in model.model_fields.items() if part in (name, info.alias)), None)
        inner = [info.annotation, *get_args(info.annotation)] if info is not None else []
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return [info.alias or name for name, info in model.model_fields.items()]


def _fault(
    model: type[BaseModel], raw: dict[str, Any], pointer: str, kind: str, text: str, location: Sequence[str | int]
) -> PipelineFault:
    # For a union, the location continues with names of pydantic: only the keys of the document count.
    place, value, name = pointer, raw, str(location[-1])
    for part in location:
        if not (isinstance(value, dict) and part in value) and not (isinstance(value, list) and isinstance(part, int)):
            break
        value, place, name = value[part], f"{place}/{escape(str(part))}", str(part)
    if kind == "missing":
        name = str(location[-1])
        return PipelineFault(place, "missing-field", f"The field `{name}` is missing.", f'Add "{name}".')
    if kind == "extra_forbidden":
        known = _fields(model, location)
        near = nearest(name, known)
        hint = f"Nearest: {near}." if near else f"Fields: {listed(known, 20)}."
        return PipelineFault(place, "unknown-field", f"There is no field {quoted(name)}.", hint)
    text = text.removeprefix("Input should be ").removeprefix("String should ").removeprefix("Value should ")
    if kind == "model_type":
        text = "an object"
    if place.endswith("/on_error"):
        text = '"fail", "skip" or {"retry": {"attempts": 3}}'
    verb = "must" if text.startswith(("have ", "match ")) else "must be"
    reason = "wrong-type" if kind.endswith("_type") else "bad-value"
    return PipelineFault(place, reason, f"`{name}` {verb} {text}.", _FORM_HINTS.get(name, ""))


_FORM_HINTS = {
    "id": "An id has letters, digits, _ and -, at most 128 of them.",
    "version": "This is version 1 of the format.",
    "timeout": "A time is a number of seconds.",
    "sync_mode": "Remove it to use the default of the node type.",
}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return kinds.get(type(value), "a number")
