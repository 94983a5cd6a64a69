"""Which content a pipeline has that a node names: results of an earlier one must not be taken for its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lanemesh import Deployed, DeploymentInfo
from lanemesh.extend import in_thread

MAX_PIPELINES = 100
"""Most deployed pipelines that one is made of."""
_NAMED = re.compile(r'"@?([^"@:]{1,200})(?::\d{1,9})?"')


class Deployments(Protocol):
    """Where deployed pipelines are."""

    async def deployments(self) -> list[DeploymentInfo]:
        """The deployed pipelines."""

    async def deployment(self, name: str, version: int = 0) -> DeploymentInfo:
        """A deployed pipeline with its document."""


async def content_of(
    mesh: Deployments, target: Deployed | Path | dict[str, Any]
) -> tuple[Deployed | Path | dict[str, Any], list[str]]:
    """What to run, and the content that it has now.

    Args:
        mesh: where the pipeline runs.
        target: a deployed pipeline, a file or a document.

    Returns:
        The pipeline, a deployed one with its version; and texts that change with its document, and with the version of each
        deployed pipeline that it names.

    Raises:
        LanemeshError: there is no such deployed pipeline.
        OSError: the file cannot be read.
        ValueError: it names more than 100 deployed pipelines.
    """
    if isinstance(target, Deployed):
        info = await mesh.deployment(target.name, target.version)
        target = Deployed(info.name, info.version)
        texts = [_version(info), info.pipeline_json]
    elif isinstance(target, Path):
        texts = [await in_thread(target.read_text, "utf-8")]
    else:
        texts = [json.dumps(target, sort_keys=True)]
    known = {info.name: info for info in await mesh.deployments()}
    return target, [*texts, *await _named(mesh, known, texts[-1])]


async def _named(mesh: Deployments, known: Mapping[str, DeploymentInfo], document: str) -> list[str]:
    """The versions of the deployed pipelines that a document names, and of those that these name."""
    found: list[str] = []
    waiting, seen = [document], set[str]()
    while waiting:
        text = waiting.pop()
        for name in sorted(set(_NAMED.findall(text)) & known.keys() - seen):
            seen.add(name)
            if len(seen) > MAX_PIPELINES:
                raise ValueError(f"it names more than {MAX_PIPELINES} deployed pipelines")
            found.append(_version(known[name]))
            waiting.append((await mesh.deployment(name)).pipeline_json)
    return found


def _version(info: DeploymentInfo) -> str:
    return f"{info.name}:{info.version} {info.created_at.isoformat()}"
