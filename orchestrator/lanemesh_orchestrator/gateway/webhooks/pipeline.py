"""What a deployed pipeline takes and delivers, as its document and its node types have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanemesh.client.node_types import NodeTypeInfo
from lanemesh.items import LaneType

from lanemesh_orchestrator.gateway.webhooks.media_types import FORM, TYPES_OF_LANE, ContentType, unsupported
from lanemesh_orchestrator.pipeline.source import components_of, part_of_tree, source_of

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

HOOK_KINDS = ("webhook", "file")
"""The node types of the source of requests, of which a pipeline with several sources has one."""

TEXT_FORMS = (LaneType.TEXT.value, LaneType.DOCUMENTS.value, LaneType.QUESTIONS.value)
"""The outputs of a source that can carry a text, by lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookPipeline:
    """The ends of a deployed pipeline."""

    name: str
    """Its name."""
    source: str
    """The component that a client feeds; empty: it has none."""
    provider: str
    """The node type of the source."""
    lanes: frozenset[str]
    """The lanes of the connected outputs of the source."""
    targets: tuple[str, ...]
    """The results of the components that deliver to clients, in the order of the document: their names, or else their ids."""

    def takes(self, lane: LaneType) -> bool:
        """Whether the source sends inputs of a lane."""
        return bool(self.lanes & set(TEXT_FORMS)) if lane is LaneType.TEXT else lane.value in self.lanes

    @property
    def takes_files(self) -> bool:
        """Whether the source sends files whose text has not been read."""
        return bool(self.lanes & {LaneType.DOCUMENTS.value, LaneType.TAGS.value})

    def check_body(self, type: ContentType) -> None:  # noqa: A002
        """Checks the type of a body, unless its parts have types of their own or it may be empty. Raises as `check`."""
        if type.name and type.name != FORM:
            self.check(type.lane, type.name)

    def check(self, lane: LaneType | None, given: str) -> LaneType:
        """The lane of an input that the source takes.

        Args:
            lane: the lane of its type; None: only files have it.
            given: its type, for errors.

        Raises:
            LanemeshError: the source does not take it ("unsupported-type").
        """
        if lane is not None and self.takes(lane):
            return lane
        if given and self.takes_files:
            return LaneType.DOCUMENTS
        taken = [name for one, name in TYPES_OF_LANE.items() if self.takes(one)]
        shown = f'"{given[:80]}"' if given else "a body without a Content-Type"
        if not taken:
            why = "no output of its source is connected" if self.source else "it has no source that clients feed"
            raise unsupported(f'the deployed pipeline "{self.name}" does not take {shown}: {why}. Change the pipeline')
        outputs = ", ".join(sorted(self.lanes))
        raise unsupported(
            f'the source "{self.source}" ({self.provider}) of "{self.name}" does not take {shown}: its connected outputs are '
            f"{outputs}. Send {', '.join(taken)}, or multipart/form-data with such parts"
        )


async def hook_pipeline(mesh: RunHost, name: str) -> HookPipeline:
    """The ends of the current version of a deployed pipeline.

    Raises:
        LanemeshError: there is no such deployment, or the mesh cannot be reached.
    """
    document = json.loads((await mesh.deployment(name)).pipeline_json)
    entries: list[dict[str, Any]] = document["components"]
    providers = {str(entry["provider"]) for entry in entries}
    found: dict[str, NodeTypeInfo] = {}
    for info in await mesh.node_types(providers):
        found |= dict.fromkeys((*info.aliases, info.provider), info)
    chosen = source_of(document, list(found.values()), kinds=HOOK_KINDS)
    source = chosen.component if chosen is not None else ""
    if chosen is not None:
        entries = components_of(part_of_tree(document, source))
    boundaries = {entry["id"]: getattr(found.get(entry["provider"]), "boundary", None) for entry in entries}
    provider = next((str(entry["provider"]) for entry in entries if entry["id"] == source), "")
    return HookPipeline(
        name=name,
        source=source,
        provider=provider,
        lanes=frozenset(_lanes_from(entries, source)),
        targets=tuple(_result_of(one) for one in entries if boundaries[one["id"]] == "target"),
    )


def _lanes_from(entries: list[dict[str, Any]], source: str) -> list[str]:
    edges: list[Mapping[str, Any]] = [edge for entry in entries for edge in entry.get("input", ())]
    return [str(edge["lane"]) for edge in edges if edge["from"] == source]


def _result_of(entry: Mapping[str, Any]) -> str:
    config = entry.get("config") or {}
    return str(config.get("result_name") or config.get("laneName") or entry["id"])
