"""Values that are larger than a message between a client and an orchestrator."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from lanemesh import Client, Document, In, LanemeshError, Node, Out, Service
from lanemesh.extend import file_document, file_items
from lanemesh.faults import Code
from lanemesh.node.ports import Whole
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import lane, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 1024 * 1024
LARGE = file_document("a.bin", b"x" * (17 * MIB))


class Weigh(Node):
    """Measures files."""

    document: In[Whole[Document]]
    size: Out[str]

    def process(self, _: object) -> str:
        return str(len(self.document.file.content) if self.document.file is not None else 0)


class Swell(Node):
    """Makes a file of 17 MiB of the file "grow", and passes on others."""

    document: In[Document]
    swollen: Out[Document]

    def process(self, _: object) -> Document:
        return LARGE if self.document.file is not None and self.document.file.content == b"grow" else self.document


WEIGHED = pipeline(node("f", "file"), node("w", "weigh", lane("f", lane="documents")), response("w"))
SWOLLEN = pipeline(
    node("f", "file"),
    node("s", "swell", lane("f", lane="documents")),
    node("r", "response", lane("s", lane="documents")),
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client() -> AsyncIterator[Client]:
    orchestrator = Orchestrator(embedded=True)
    orchestrator.host.node_types.replace([Service("own", [Weigh, Swell])])
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as connected:
            yield connected
    finally:
        await orchestrator.close()


async def test_a_large_input_is_refused_before_it_is_sent_with_what_to_do(client: Client) -> None:
    with pytest.raises(LanemeshError, match=r"an input has 17,825,.* bytes, but .*16 MiB.*file_items") as caught:
        async with client.run(WEIGHED, open_input=True) as run:
            await run.push(LARGE)
    assert caught.value.fault.reason == "message-too-large"
    with pytest.raises(LanemeshError, match=r"the pipeline and all inputs has 17,82.* bytes"):
        await client.start(WEIGHED, input=LARGE)
    result = await client.run(WEIGHED, input=LARGE).result()
    assert result.state == "cancelled"
    assert "an input has 17,825," in result.reason
    with pytest.raises(LanemeshError, match=r"a pipeline with its settings has .* bytes.*Make it smaller"):
        await client.run({**WEIGHED, "name": "x" * 17 * MIB}, input="x").result()


async def test_the_pieces_of_a_large_file_are_inputs(client: Client) -> None:
    assert (await client.run(WEIGHED, inputs=file_items(LARGE)).result()).values == (str(17 * MIB),)
    async with client.run(WEIGHED, open_input=True) as run:
        for piece in file_items(LARGE):
            await run.push(piece)
        await run.end_input()
        assert (await run.result()).values == (str(17 * MIB),)


@pytest.mark.parametrize("detached", [False, True])
async def test_a_large_output_fails_its_run_with_the_limit_and_the_others_arrive(
    client: Client, detached: bool
) -> None:
    inputs = [file_document("a", b"small"), file_document("b", b"grow")]
    run = await client.start(SWOLLEN, inputs=inputs) if detached else client.run(SWOLLEN, inputs=inputs)
    result = await run.result()
    assert [value.file.content for value in result.values] == [b"small"]
    assert result.state == "failed"
    assert result.error is not None
    assert (result.error.code, result.error.reason) == (Code.RESOURCE_EXHAUSTED, "message-too-large")
    assert result.error.details["component"] == "r"
    assert 'an item of "documents" has 17,825,' in result.error.message
    assert "gets at most 16,744,448 in one output" in result.error.message
    assert "in pieces of a group" in result.error.message


async def test_a_mesh_in_the_process_of_its_client_delivers_outputs_of_any_size() -> None:
    async with Mesh() as mesh:
        mesh.orchestrator.host.node_types.replace([Service("own", [Weigh, Swell])])
        result = await mesh.run(SWOLLEN, input=file_document("b", b"grow")).result()
    assert [len(value.file.content) for value in result.values] == [17 * MIB]
