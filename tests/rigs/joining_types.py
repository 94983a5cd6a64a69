"""A mesh with one deployed pipeline whose node types join it one after the other."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, cast

from lanemesh.client.deployment_info import DeploymentInfo, DeploymentState
from lanemesh.client.node_types import NodeTypeInfo, OutputInfo
from lanemesh.client.run_host import RunHost
from lanemesh.node.names import of_names

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS: dict[str, Any] = {"properties": {"temperature": {}, "max_tokens": {}}}
QUESTIONS = OutputInfo(name="questions", lane="questions")
TYPES = (
    NodeTypeInfo(provider="chat", boundary="source", outputs=(QUESTIONS,)),
    NodeTypeInfo(provider="llm_text", aliases=("llm_any",), offers=("llm",), config_schema=SETTINGS),
    NodeTypeInfo(provider="response", boundary="target"),
)
DOCUMENT = json.dumps(
    {
        "components": [
            {"id": "in", "provider": "chat"},
            {"id": "model", "provider": "llm_any", "input": [{"lane": "questions", "from": "in"}]},
            {"id": "out", "provider": "response", "input": [{"lane": "answers", "from": "model"}]},
        ]
    }
)


class JoiningMesh:
    """A mesh with the pipeline "chat", without some node types at first."""

    def __init__(self, *missing: str) -> None:
        self.types = {one.provider: one for one in TYPES if one.provider not in missing}
        self.read = 0
        """How often the document was read."""
        self.listed = 0
        """How often the deployments were listed."""

    @property
    def host(self) -> RunHost:
        """This mesh, for what reads no more than deployments and node types of a mesh."""
        return cast("RunHost", self)

    async def deployments(self) -> list[DeploymentInfo]:
        self.listed += 1
        return [DeploymentInfo(name="chat", version=1, state=DeploymentState.READY, created_at=CREATED_AT)]

    async def deployment(self, name: str) -> DeploymentInfo:
        self.read += 1
        return DeploymentInfo(
            name=name, version=1, state=DeploymentState.READY, created_at=CREATED_AT, pipeline_json=DOCUMENT
        )

    async def node_types(self, names: Collection[str]) -> list[NodeTypeInfo]:
        return of_names(names, self.types)

    def join(self) -> None:
        """All node types are there."""
        self.types = {one.provider: one for one in TYPES}
