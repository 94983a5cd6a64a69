"""Groups in runs: over memory lanes in one process, and over gRPC lanes between processes."""

from __future__ import annotations

from itertools import groupby

import pytest
from lanemesh_orchestrator import Mesh

from rigs.runs import chat, ended, lane, node, pipeline, response

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

WORDS = ["streaming", "pipelines", "of", "many", "pieces"]


def whole_words(told: tuple[str, ...]) -> list[tuple[str, str]]:
    """Wholes by the order in which they came; one that was broken up comes several times."""
    pieces = [one.split(":") for one in told]
    return [(name, "".join(letter for _, letter in of)) for name, of in groupby(pieces, key=lambda piece: piece[0])]


@pytest.mark.conformance("FIRE-22")
async def test_pieces_of_two_producers_are_put_together(mesh: Mesh) -> None:
    document = pipeline(
        chat(),
        node("a", "spell_out", "chat"),
        node("b", "spell_out", "chat"),
        node("c", "recite", "a", "b"),
        response("c"),
    )
    result, _ = await ended(mesh.run(document, inputs=WORDS))
    assert sorted(result.values) == sorted(WORDS * 2)


@pytest.mark.conformance("FIRE-22")
@pytest.mark.parametrize("limit", [2, 4096])
async def test_merge_group_keeps_wholes_of_two_producers_apart(mesh: Mesh, limit: int) -> None:
    document = pipeline(
        chat(),
        node("a", "spell_out", "chat"),
        node("b", "spell_out", "chat"),
        node("c", "tell", lane("a", merge="group", buffer_limit=limit), lane("b", buffer_limit=limit)),
        response("c"),
    )
    result, _ = await ended(mesh.run(document, inputs=WORDS))
    words = whole_words(result.values)
    assert sorted(word for _, word in words) == sorted(WORDS * 2)
    assert len({name for name, _ in words}) == len(words)


@pytest.mark.conformance("FIRE-22")
async def test_a_lane_too_narrow_for_what_waits_aside_is_grown(mesh: Mesh) -> None:
    document = pipeline(
        chat(),
        node("a", "alternate", "chat"),
        node("c", "tell", lane("a", merge="group", buffer_limit=2)),
        response("c"),
    )
    result, updates = await ended(mesh.run(document, inputs=["a" * 20, "b" * 20]))
    assert result.state == "completed"
    assert whole_words(result.values) == [("a.x", "a" * 20), ("a.y", "b" * 20)]
    edges = [update.edge for update in updates if update.WhichOneof("kind") == "edge"]
    assert max(edge.growths for edge in edges if edge.edge_id.startswith("a.")) >= 3
