"""The config of an instance that an orchestrator places: checked against its node type and the files that it may name."""

from __future__ import annotations

import json

from pydantic import BaseModel, ValidationError

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.node import Node
from lanemesh.server.file_roots import FileRoots, may_name, schema_of
from lanemesh.v1 import node_pb2

MAX_PROBLEMS = 5
"""Most problems of a config that its error names."""


def config_of(instance: node_pb2.Instance, node: type[Node], files: FileRoots | None) -> BaseModel:
    """The config of an instance of `node`, which may name `files` alone; None: any.

    Raises:
        LanemeshError: it names a file outside of the roots, or it is invalid ("bad-config").
    """
    text = instance.config_json or "{}"
    if files is not None and may_name(node.Config):
        files.check(json.loads(text), schema_of(node.Config), instance.component)
    try:
        return node.Config.model_validate_json(text)
    except ValidationError as error:
        raise _bad_config(instance, error) from None


def _bad_config(instance: node_pb2.Instance, error: ValidationError) -> LanemeshError:
    """The error of a config that its node type refuses. It quotes no values, which may be secret."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    shown = "; ".join(
        f"{'.'.join(map(str, ('config', *problem['loc'])))}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in problems[:MAX_PROBLEMS]
    )
    message = f"{instance.component}: {shown}. `lanemesh nodes {instance.provider}` lists the settings"
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-config", message=message))
