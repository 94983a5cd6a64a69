"""Pipelines written in Python: components, ports joined by `>>`, and the same JSON as by hand."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.items import LaneType
from lanemesh.node.node import Node
from lanemesh.redaction import revealed
from lanemesh.rendering import rendered

FIELDS = (
    "name",
    "description",
    "sync_mode",
    "join_on",
    "on_error",
    "timeout",
    "concurrency",
    "isolation",
    "placement",
)
"""Fields of a component besides id, provider, config and connections."""

_LANES = frozenset(lane.value for lane in LaneType)


class Pipeline:
    """A pipeline under construction.

        pipeline = Pipeline()
        chat = pipeline.add("chat")
        llm = pipeline.add("llm_llamacpp", profile="smollm2")
        chat.questions >> llm.questions
        llm.answers >> pipeline.add("response", lane="answers").answers

    `Mesh.run` and `Client.run` accept it; `to_json` is the document that `lanemesh run` accepts.
    """

    def __init__(
        self,
        name: str = "",
        *,
        source: Component | str | None = None,
        timeout: float | None = None,
        trace: str = "",
    ) -> None:
        """An empty pipeline.

        Args:
            name: a name for display.
            source: the component that the client feeds, or its id, if several qualify.
            timeout: most seconds for a run; None: no limit.
            trace: the trace level, such as "metadata"; empty: none.
        """
        self.name = name
        self.source = source
        self.timeout = timeout
        self.trace = trace
        self.more: dict[str, Any] = {}
        """Further fields of a document that was read, such as those of visual editors."""
        self.components: dict[str, Component] = {}
        """Components by id, in the order of their addition."""

    @classmethod
    def load(cls, path: Path | str) -> Pipeline:
        """The pipeline of a file, to be changed and run.

        Raises:
            OSError: it cannot be read.
            LanemeshError: the file has no pipeline, see `from_dict`, or no JSON.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise _wrong("not-json", f"{path} is not a pipeline: it is not JSON: {error}") from None
        return cls.from_dict(document)

    @classmethod
    def from_dict(cls, document: Any) -> Pipeline:
        """The pipeline of a document. Only its components and their ids are checked. Other faults are reported by a run, or by
        `validate`.

        Raises:
            LanemeshError: it has no components, or two with one id.
        """
        document = copy.deepcopy(document)
        listed = document.pop("components", None) if isinstance(document, dict) else None
        if not isinstance(listed, list) or not all(map(_is_entry, listed)):
            raise _wrong("no-components", 'a pipeline is {"components": [...]}, with an "id" and a "provider" in each')
        pipeline = cls()
        for field in ("name", "source", "timeout", "trace"):
            if field in document:
                setattr(pipeline, field, document.pop(field))
        if document.get("version") == 1:
            del document["version"]
        pipeline.more = document
        for entry in listed:
            component = pipeline.add(entry.pop("provider"), entry.pop("id"))
            component.config = entry.pop("config", {})  # as it is, like all else: also what is no object is reported
            component.inputs, component.controls = entry.pop("input", []), entry.pop("control", [])
            component.fields = entry
        return pipeline

    def __getitem__(self, id: str) -> Component:  # noqa: A002
        """The component with this id. Raises KeyError if there is none."""
        return self.components[id]

    def add(
        self,
        node: str | type[Node],
        id: str = "",  # noqa: A002
        *,
        config: Mapping[str, Any] | BaseModel | None = None,
        **settings: Any,
    ) -> Component:
        """Adds a component.

        Args:
            node: name of a node type or of a deployed pipeline, as "@chat", or a node class, whose ports are then known here.
            id: unique within the pipeline; by default the node type's name and a number.
            config: its settings, also as an instance of the class's `Config`; more of them may be given by name.

        Raises:
            LanemeshError: the id is taken, or the node class has no such setting.
        """
        provider = node if isinstance(node, str) else node.provider
        if not id:
            number = 1
            stem = re.sub(r"[^A-Za-z0-9_-]", "_", provider.removeprefix("@"))  # of a deployed pipeline: "@chat:2"
            while (id := f"{stem}_{number}") in self.components:  # noqa: A001
                number += 1
        if id in self.components:
            raise _wrong("duplicate-id", f'the pipeline has a component "{id}" already; use another id')
        given = _dumped(config, exclude_unset=True) if isinstance(config, BaseModel) else config or {}
        together = {**given, **settings}
        if not isinstance(node, str):
            _check_settings(node, together)
        component = Component(self, id, provider, together, None if isinstance(node, str) else node)
        self.components[id] = component
        return component

    def connect(
        self,
        output: Port,
        input: Port,  # noqa: A002
        *,
        buffer_limit: int | None = None,
        buffer_bytes: int | None = None,
        merge: str | None = None,
    ) -> Component:
        """Connects an output to an input, like `output >> input`, with the further fields of an edge.

        Returns:
            The component of the input.

        Raises:
            LanemeshError: their lanes differ or are unknown, there is no such port, or one belongs to another pipeline.
        """
        for port in (output, input):
            if port.component.pipeline is not self:
                raise _wrong("other-pipeline", f"{port} belongs to another pipeline")
        lane = _lane(output, input)
        entry: dict[str, Any] = {"lane": lane, "from": output.component.id}
        if output.name != lane:
            entry["output"] = output.name
        if input.name != lane:
            entry["input"] = input.name
        options = {"buffer_limit": buffer_limit, "buffer_bytes": buffer_bytes, "merge": merge}
        entry.update({key: value for key, value in options.items() if value is not None})
        input.component.inputs.append(entry)
        return input.component

    def to_dict(self) -> dict[str, Any]:
        """The document."""
        document: dict[str, Any] = {"components": [component.to_dict() for component in self.components.values()]}
        if self.source is not None:
            document["source"] = self.source.id if isinstance(self.source, Component) else self.source
        if self.name != "":
            document["name"] = self.name
        if self.timeout is not None:
            document["timeout"] = self.timeout
        if self.trace != "":
            document["trace"] = self.trace
        return {**document, "version": 1, **self.more}

    def to_json(self) -> str:
        """The document as JSON text, indented. Raises LanemeshError if a setting is not a JSON value."""
        try:
            return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
        except (TypeError, ValueError) as error:
            raise _wrong("bad-config", f"a setting is not a JSON value: {error}") from None


class Component:
    """One node of a pipeline. Its ports are its attributes: `llm.answers`."""

    def __init__(
        self,
        pipeline: Pipeline,
        id: str,  # noqa: A002
        provider: str,
        config: dict[str, Any],
        node: type[Node] | None,
    ) -> None:
        self.pipeline = pipeline
        self.id = id
        self.provider = provider
        self.config = config
        self.node = node
        """Its class, where that is known here."""
        self.inputs: list[dict[str, Any]] = []
        self.controls: list[dict[str, str]] = []
        self.fields: dict[str, Any] = {}

    def port(self, name: str, *, lane: str = "") -> Port:
        """A port by name, for names that are not attributes, or to set a lane that only the mesh knows."""
        return Port(self, name, lane)

    def __getattr__(self, name: str) -> Port:
        if name.startswith("_"):
            raise AttributeError(name)
        return Port(self, name)

    def set(self, **fields: Any) -> Component:
        """Sets further fields of the component, such as `timeout=5` or `on_error="skip"`; see `FIELDS`. Returns itself.

        Raises:
            LanemeshError: there is no such field.
        """
        for name, value in fields.items():
            if name not in FIELDS:
                raise _wrong("unknown-field", f'a component has no field "{name}"; its fields are: {", ".join(FIELDS)}')
            self.fields[name] = f"{value.component.id}.{value.name}" if isinstance(value, Port) else value
        return self

    def helps(self, invoker: Component, class_type: str = "", name: str = "") -> Component:
        """Makes it a helper of another component, such as an agent. Returns itself.

        Args:
            class_type: the kind of helper, such as "llm"; by default the only kind that its node class offers, if that is known.
            name: the name of the helper in `invoker`, if that has several helpers.

        Raises:
            LanemeshError: its kind is neither given nor known.
        """
        offers = tuple(self.node.offers) if self.node is not None else ()
        if not class_type and len(offers) == 1:
            class_type = offers[0]
        if not class_type:
            kinds = " or ".join(f'"{kind}"' for kind in HELPER_KINDS)
            raise _wrong("no-class-type", f"pass the class of the helper {self.id} of {invoker.id}: {kinds}")
        self.controls.append({"classType": class_type, "from": invoker.id, **({"name": name} if name else {})})
        return self

    def to_dict(self) -> dict[str, Any]:
        """Its entry in the document."""
        entry: dict[str, Any] = {"id": self.id, "provider": self.provider}
        if self.config != {}:
            entry["config"] = self.config
        if self.inputs != []:
            entry["input"] = self.inputs
        if self.controls != []:
            entry["control"] = self.controls
        return {**entry, **self.fields}


class Port:
    """An input or an output of a component; `output >> input` connects them."""

    def __init__(self, component: Component, name: str, lane: str = "") -> None:
        self.component = component
        self.name = name
        self._lane = lane

    def __rshift__(self, consumer: Port) -> Component:
        """Connects this output to an input. Returns the component of the input."""
        return self.component.pipeline.connect(self, consumer)

    def __str__(self) -> str:
        return f"{self.component.id}.{self.name}"

    def lane(self, direction: str) -> str | None:
        """Its lane type as an "input" or "output"; None if it is unknown here. Raises LanemeshError if there is no such port."""
        if self._lane:
            return self._lane
        node = self.component.node
        if node is not None:
            ports: Mapping[str, Any] = node.outputs_ if direction == "output" else node.inputs_
            if self.name in ports:
                declared: LaneType | None = ports[self.name].lane_type
                return declared.value if declared is not None else None
            if self.name not in {spec.lane_type.value for spec in ports.values() if spec.lane_type is not None}:
                known = ", ".join(ports) or "none"
                raise _wrong(
                    "unknown-port", f'{self.component.id} has no {direction} "{self.name}"; there are: {known}'
                )
        return self.name if self.name in _LANES else None


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str) and isinstance(entry.get("provider"), str)


def _check_settings(node: type[Node], settings: Mapping[str, Any]) -> None:
    """Raises LanemeshError for a setting that a node class does not have. A profile may have further values."""
    known = {name for field, info in node.Config.model_fields.items() for name in (field, info.alias) if name}
    unknown = [name for name in settings if name not in known] if "profile" not in settings else []
    if unknown and node.Config.model_config.get("extra") == "forbid":
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"nearest: {near[0]}" if near else f"its settings are: {', '.join(sorted(known)) or 'none'}"
        raise _wrong("unknown-config-key", f'{node.provider} has no setting "{unknown[0]}"; {hint}')


def _lane(output: Port, consumer: Port) -> str:
    lanes = (output.lane("output"), consumer.lane("input"))
    known = [lane for lane in lanes if lane is not None]
    if not known:
        why = (
            f"the lane of {output} and {consumer} is unknown: add a node class instead of its name, or pass the lane: "
            f'{output.component.id}.port("{output.name}", lane="data")'
        )
        raise _wrong("unknown-lane", why)
    if len(set(known)) > 1:
        raise _wrong("lane-mismatch", f"{output} sends {lanes[0]}, and {consumer} takes {lanes[1]}")
    return known[0]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return _dumped(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(f"{type(value).__name__}: {rendered(value)}")


def _dumped(model: BaseModel, *, exclude_unset: bool = False) -> dict[str, Any]:
    """A model as JSON values, including its secrets, because the document is sent to the mesh."""
    values: dict[str, Any] = to_jsonable_python(revealed(model.model_dump(exclude_unset=exclude_unset)))
    return values


def _wrong(reason: str, message: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason=reason, message=message))
