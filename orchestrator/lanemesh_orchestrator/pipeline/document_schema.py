"""The JSON Schema of pipeline documents, for completion and checks in editors.

It describes single components: fields, lane types, the config of each known node type. `validate` checks what depends on the whole
graph, such as ids and ports. A document that is valid there is valid here, except for configs that settings complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lanemesh.client.variables import VARIABLE_NAME
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.config import json_object
from lanemesh_orchestrator.pipeline.document import MAX_COMPONENTS
from lanemesh_orchestrator.pipeline.entries import EDITOR_CONFIG_KEYS, EDITOR_KEYS, LANE_ALIASES, PipelineEntry
from lanemesh_orchestrator.pipeline.faults import escape
from lanemesh_orchestrator.pipeline.graph import LANES

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_VARIABLE = {"type": "string", "pattern": rf"\$\{{{VARIABLE_NAME}\}}"}
_NARROWING = ("pattern", "enum", "format", "minLength", "maxLength")
"""Keywords that a string with a variable might violate."""
_PARAMETERS = {"required": ["parameters"]}
_VALUES = ("const", "default", "enum", "examples")
"""Keywords whose values are no schemas."""
_NAMED = ("$defs", "patternProperties", "properties")
"""Keywords whose values are schemas by names."""

Schema = dict[str, Any]


def document_schema(manifests: Iterable[node_pb2.Manifest]) -> Schema:
    """The schema (draft 2020-12) of documents for a mesh with these node types. Others than these are allowed: they may be there
    when the pipeline runs."""
    known = sorted(manifests, key=lambda manifest: manifest.provider)
    schema: Schema = _tidied(PipelineEntry.model_json_schema(), "")
    definitions = schema.pop("$defs")
    component, edge, control = (definitions[name] for name in ("ComponentEntry", "InputEntry", "ControlEntry"))
    schema["properties"]["components"] |= {"minItems": 1, "maxItems": MAX_COMPONENTS}
    for entry in (schema, component):
        entry["properties"] |= {
            key: {"$ref": "#/$defs/ignored"} for key in EDITOR_KEYS if key not in entry["properties"]
        }
    schema["properties"]["$schema"] = {"type": "string", "description": "Location of this schema."}
    edge["properties"]["lane"] |= {"enum": sorted({*LANES, *LANE_ALIASES})}
    control["properties"]["classType"] |= {"examples": sorted(HELPER_KINDS)}
    names = sorted({name for manifest in known for name in (manifest.provider, *manifest.aliases)})
    component["properties"]["provider"] |= {"examples": names}
    if known:
        component["allOf"] = [_when(manifest) for manifest in known]
    definitions["ignored"] = {"description": "A field of visual editors: kept and ignored."}
    definitions |= {f"config.{manifest.provider}": _config(manifest) for manifest in known}
    return {
        "$schema": DIALECT,
        "title": "Lanemesh pipeline",
        **schema,
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }


def _when(manifest: node_pb2.Manifest) -> Schema:
    """The schema of components of a node type."""
    names = [manifest.provider, *sorted(manifest.aliases)]
    then: Schema = {"properties": {"config": {"$ref": f"#/$defs/config.{manifest.provider}"}}}
    if _required(manifest):
        then["required"] = ["config"]
    return {"if": {"properties": {"provider": {"enum": names}}, "required": ["provider"]}, "then": then}


def _required(manifest: node_pb2.Manifest) -> list[str]:
    """The keys that every config has to have. Those that an alias of the node type brings are not required with the others either,
    because one schema describes both."""
    required = json_object(manifest.config_schema_json).get("required", [])
    profiles = json_object(manifest.profiles_json)
    brought = [values for alias in manifest.aliases if isinstance(values := profiles.get(alias), dict)]
    return (
        [key for key in required if not any(key in values for values in brought)] if isinstance(required, list) else []
    )


def _config(manifest: node_pb2.Manifest) -> Schema:
    """The config of a node type as a document may write it: with a profile, variables, and keys of visual editors."""
    root = f"#/$defs/config.{manifest.provider}"
    own = _tidied(json_object(manifest.config_schema_json), root)
    values: Schema = {
        "type": "object",
        "properties": {k: _or_variable(v) for k, v in own.get("properties", {}).items()},
    }
    known = {key: {"$ref": f"{root}/$defs/values/properties/{_pointed(key)}"} for key in values["properties"]}
    schema: Schema = {"type": "object", "description": manifest.description.partition("\n")[0]}
    definitions = {**own.get("$defs", {}), "values": values}
    if own.get("additionalProperties") is not False:
        return {**schema, "properties": known, "$defs": definitions}
    values["additionalProperties"] = False
    some = {"$ref": f"{root}/$defs/values"}
    profiles = sorted(json_object(manifest.profiles_json))
    named = {"type": "string", "description": "Named set of values.", "examples": profiles}
    properties = {**dict.fromkeys(profiles, some), **_editor_keys(manifest, some), "profile": named, **known}
    closed: Schema = {"additionalProperties": False, "properties": dict.fromkeys(properties, True)}
    required = _required(manifest)
    if required:
        closed |= {"required": required} if "parameters" in known else {"anyOf": [{"required": required}, _PARAMETERS]}
    schema |= {"properties": properties, "$defs": definitions}
    if "profile" in known:
        return {**schema, "allOf": [closed]}
    # Beside a profile, any further key may be one that is written out here, with some of the values.
    opened = {"additionalProperties": some, "properties": closed["properties"]}
    return {**schema, "if": {"required": ["profile"]}, "then": opened, "else": closed}


def _editor_keys(manifest: node_pb2.Manifest, values: Schema) -> Schema:
    """Keys that visual editors write into a config."""
    ignored = {"$ref": "#/$defs/ignored"}
    names = [manifest.provider, *sorted(manifest.aliases)]
    return {
        **dict.fromkeys(EDITOR_CONFIG_KEYS, ignored),
        "type": {**ignored, "enum": names},
        "lanes": {**ignored, "type": "array"},
        "parameters": {"description": "Values of this profile.", "if": {"type": "object"}, "then": values},
    }


def _pointed(key: str) -> str:
    """A key within a reference: escaped as in a JSON pointer, then as in a URI."""
    from urllib.parse import quote

    return quote(escape(key))


def _or_variable(rule: Any) -> Any:
    """A rule that also accepts any string with a variable, because its value is not known yet."""
    if not isinstance(rule, dict):
        return rule
    rule = _within(rule, _or_variable)
    if rule.get("type") != "string" or not any(key in rule for key in _NARROWING):
        return rule
    outer = {key: rule.pop(key) for key in ("description", "default", "writeOnly") if key in rule}
    return {**outer, "anyOf": [rule, _VARIABLE]}


def _tidied(schema: Any, root: str) -> Any:
    """A schema as pydantic writes it without its titles, and with its references counted from another root."""
    if not isinstance(schema, dict):
        return schema
    tidy = _within(schema, lambda part: _tidied(part, root))
    if isinstance(tidy.get("title"), str):
        del tidy["title"]
    if root and str(tidy.get("$ref", "")).startswith("#"):
        tidy["$ref"] = root + tidy["$ref"].removeprefix("#")
    return tidy


def _within(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """A schema with every schema that stands directly in it changed."""
    changed: Schema = {}
    for key, value in schema.items():
        if key in _VALUES:
            changed[key] = value
        elif key in _NAMED and isinstance(value, dict):
            changed[key] = {name: change(part) for name, part in value.items()}
        else:
            changed[key] = [change(part) for part in value] if isinstance(value, list) else change(value)
    return changed
