"""A deployed pipeline as an MCP tool: its name, its description, its arguments, and the inputs of a run that they become."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lanemesh.codec import encode, make_item
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import LaneType
from lanemesh.v1 import run_pb2
from lanemesh.values import Audio, Document, Image, Media, Video

from lanemesh_orchestrator.pipeline.json_schema import problems
from lanemesh_orchestrator.pipeline.source import Source, components_of, document_tree, knows_node_types, source_of

if TYPE_CHECKING:
    from lanemesh.client.node_types import NodeTypeInfo

ARGUMENTS_SCHEMA = "arguments-schema"
"""The `format` of a setting of a source that is the JSON schema of its input."""
MAX_DESCRIPTION = 4_096
"""Most characters of a tool's description."""
_MEDIA: Mapping[str, type[Media]] = {"image": Image, "audio": Audio, "video": Video}
_TEXT = {"type": "string", "description": "The input: text."}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool."""

    name: str
    """Its name."""
    schema: Mapping[str, Any]
    """The JSON schema of its values."""
    convert: Callable[[Any], Any]
    """Makes a value of the schema an input of a run. Raises ValueError."""


@dataclass(frozen=True)
class Offer:
    """A deployed pipeline as a tool."""

    name: str
    """Name of the tool: that of the deployment."""
    version: int
    """Version of the deployment."""
    description: str
    """What it does."""
    arguments: Sequence[Argument]
    """Its arguments. Several are alternatives that can also be combined: each is one input of the run."""
    form: Mapping[str, Any] | None = None
    """The JSON schema of the arguments, if the source defines one. All of them together are then one JSON input."""
    source: str = ""
    """The component that is fed; empty: none."""
    is_final: bool = True
    """All its node types were known. Otherwise it may take other arguments when their node server joins."""

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        if self.form is not None:
            return {"type": "object", **self.form}
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {argument.name: dict(argument.schema) for argument in self.arguments},
            "additionalProperties": False,
        }
        if len(self.arguments) == 1:
            schema["required"] = [self.arguments[0].name]
        elif self.arguments:
            schema["minProperties"] = 1
        return schema

    @cached_property
    def _schema_text(self) -> str:
        return json.dumps(self.schema)

    def inputs(self, given: Mapping[str, Any]) -> list[Any]:
        """The inputs of a run for these arguments, in the order of the schema.

        Raises:
            LanemeshError: "bad-arguments", with every fault.
        """
        if not given and len(self.arguments) > 1:
            names = ", ".join(argument.name for argument in self.arguments)
            raise _bad_arguments(self.name, [f"there are none. Give at least one of {names}"])
        found = [
            f"{'.'.join(map(str, problem.path)) or 'the arguments'}: {problem.message}"
            for problem in problems(self._schema_text, self.schema, given)
        ]
        if found:
            raise _bad_arguments(self.name, found)
        if self.form is not None:
            return [_data(dict(given))]
        inputs: list[Any] = []
        for argument in self.arguments:
            if argument.name in given:
                try:
                    inputs.append(argument.convert(given[argument.name]))
                except (ValueError, TypeError) as error:
                    found.append(f"{argument.name}: {error}")
        if found:
            raise _bad_arguments(self.name, found)
        return inputs


def offer_of(name: str, version: int, document: str, types: Sequence[NodeTypeInfo]) -> Offer:
    """The tool of a deployed pipeline. `types` are the node types of its components, as far as they are known."""
    tree = document_tree(document)
    source = source_of(tree, types)
    description = _description(name, tree)
    is_final = knows_node_types(tree, types)
    if source is None:
        return Offer(name, version, description, (), is_final=is_final)
    form = _form(source, tree)
    arguments = () if form is not None else tuple(_arguments(source))
    return Offer(name, version, description, arguments, form, source.component, is_final)


def _form(source: Source, tree: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON schema of arguments in the config of a source, whose own schema marks it with the format "arguments-schema"."""
    rules = source.node_type.config_schema.get("properties") or {}
    config = next((one.get("config") for one in components_of(dict(tree)) if one.get("id") == source.component), None)
    for key, rule in rules.items():
        value = config.get(key) if isinstance(config, dict) else None
        if isinstance(rule, Mapping) and rule.get("format") == ARGUMENTS_SCHEMA and isinstance(value, dict):
            return value
    return None


def _description(name: str, tree: Mapping[str, Any]) -> str:
    parts = [tree.get("description"), tree.get("name")]
    chosen = next((part for part in parts if isinstance(part, str) and part.strip()), "")
    return chosen.strip()[:MAX_DESCRIPTION] or f"Runs the pipeline {name}."


def _arguments(source: Source) -> list[Argument]:
    lanes = {port.lane for port in source.node_type.outputs if port.lane in source.lanes or port.name in source.lanes}
    found: list[Argument] = []
    if "documents" in lanes:
        found.append(Argument("text", _TEXT | {"description": "The text of a document."}, Document))
    elif lanes & {"text", "questions"}:
        found.append(Argument("text", _TEXT, str))
    for lane, kind in _MEDIA.items():
        if lane in lanes:
            found.append(Argument(lane, _media_schema(lane), _media_of(kind)))
    if "data" in lanes:
        found.append(Argument("data", {"description": "The input: any JSON value."}, _data))
    return found


def _media_schema(lane: str) -> dict[str, Any]:
    article = "a" if lane == "video" else "an"
    return {
        "type": "object",
        "description": f"The input: {article} {lane} file.",
        "properties": {
            "data": {"type": "string", "description": "The bytes, in base64."},
            "mimeType": {"type": "string", "description": f"Its media type, such as {_EXAMPLES[lane]}."},
        },
        "required": ["data", "mimeType"],
        "additionalProperties": False,
    }


_EXAMPLES = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}


def _media_of(kind: type[Media]) -> Callable[[Any], Media]:
    def convert(value: Mapping[str, str]) -> Media:
        try:
            content = base64.b64decode(value["data"], validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("data is not base64") from None
        return kind(mime_type=value["mimeType"], content=content)

    return convert


def _data(value: Any) -> run_pb2.RunInput:
    item = make_item(LaneType.DATA, value, where="the client")
    return run_pb2.RunInput(item=encode(LaneType.DATA, item))


def _bad_arguments(name: str, found: Sequence[str]) -> LanemeshError:
    message = f"the arguments of {name} are invalid: {'; '.join(found)}. tools/list has their schema"
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-arguments", message=message))
