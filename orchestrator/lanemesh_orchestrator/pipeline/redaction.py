"""A pipeline document as it may be kept and shown: without the secrets that are written out in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lanemesh.client.variables import VARIABLE_NAME
from lanemesh.node.names import by_name
from lanemesh.redaction import HIDDEN
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.config import json_object
from lanemesh_orchestrator.pipeline.document import load
from lanemesh_orchestrator.pipeline.faults import escape
from lanemesh_orchestrator.pipeline.positions import spans
from lanemesh_orchestrator.pipeline.secrets import marked, value_at

_VARIABLES = re.compile(rf"(\$\{{{VARIABLE_NAME}\}})+")


def without_secrets(text: str, manifests: Mapping[str, node_pb2.Manifest]) -> str:
    """The text of a pipeline document with "***" in place of its literal secrets: values of fields that the schemas of its node
    types mark, in configs, their profiles and `parameters`. All other parts are unchanged, including `${NAME}`.

    Used for stored and shown documents. The time is linear in the size of the text. Raises `PipelineInvalid` for a text that is not
    a JSON object.
    """
    tree, _ = load(text)
    names = by_name(manifests.values())
    components = tree.get("components")
    pointers: list[str] = []
    for index, entry in enumerate(components if isinstance(components, list) else ()):
        if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
            continue
        manifest = names.get(str(entry.get("provider")))
        if manifest is not None:
            pointers += [f"/components/{index}/config{pointer}" for pointer in _written(manifest, entry["config"])]
    return _replaced(text, [pointer for pointer in pointers if not _is_variable(value_at(tree, pointer))])


def _written(manifest: node_pb2.Manifest, config: dict[str, Any]) -> Iterator[str]:
    schema = json_object(manifest.config_schema_json)
    known = schema.get("properties", {})
    yield from _strings(config, marked(manifest.config_schema_json, schema, config))
    for key, inner in config.items():
        if key not in known and isinstance(inner, dict):
            found = marked(manifest.config_schema_json, schema, inner)
            yield from _strings(config, [f"/{escape(key)}{pointer}" for pointer in found])


def _strings(config: dict[str, Any], pointers: Iterable[str]) -> Iterator[str]:
    """Pointers to every string, and number, at or below these."""
    for pointer in pointers:
        value = value_at(config, pointer)
        if isinstance(value, dict):
            yield from _strings(config, [f"{pointer}/{escape(key)}" for key in value])
        elif isinstance(value, list):
            yield from _strings(config, [f"{pointer}/{index}" for index in range(len(value))])
        elif not isinstance(value, bool) and value is not None:
            yield pointer


def _is_variable(value: Any) -> bool:
    return isinstance(value, str) and _VARIABLES.fullmatch(value) is not None


def _replaced(text: str, pointers: Iterable[str]) -> str:
    """A JSON text with "***" for the values at some pointers."""
    parts: list[str] = []
    copied = 0
    for start, end in spans(text, pointers):
        parts += text[copied:start], f'"{HIDDEN}"'
        copied = end
    return "".join((*parts, text[copied:]))
