"""The examples: each by the command that examples/README.md shows, and again spread over processes, with the same outputs."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from lanemesh import Document, Media
from lanemesh.client.run_reader import wire_updates
from lanemesh.file_values import file_value
from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import InstalledServices
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from demo import CATALOGUE, EXAMPLES, example_blocks
from heavy import FAMILIES
from pages import ROOT, Block, Reader, differs
from rigs.commands import make_shim
from rigs.runs import value_of

COMMANDS = {name: found[0] for name, found in example_blocks().items() if name not in CATALOGUE}
"""The first block of the page for each pipeline, by its name. Those of the catalogue run in tests/conformance/catalogue."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Someone in a clone."""
    clone = tmp_path_factory.mktemp("examples") / "clone"
    shutil.copytree(EXAMPLES, clone / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    make_shim(clone.parent)
    return Reader(clone, clone.parent)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "spread"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """A mesh with the node types of all examples, in this process or in one for each example."""
    nodes = sorted(EXAMPLES.glob("*_nodes.py"))
    async with Mesh("service" if request.param == "spread" else None, nodes=nodes, folder=EXAMPLES) as mesh:
        yield mesh


def pipeline(name: str) -> str:
    return (EXAMPLES / f"{name}.pipe").read_text(encoding="utf-8")


def given(block: Block) -> str | Document | Media | None:
    """What a command gives as `--input`, or by `--file`."""
    words = shlex.split(block.text)
    if "--file" in words:
        file = ROOT / words[words.index("--file") + 1]
        return file_value(file.name, file.read_bytes())
    return words[words.index("--input") + 1] if "--input" in words else None


async def ended(mesh: Mesh, name: str, **options: Any) -> list[update_pb2.Update]:
    """All updates of a run of an example that completes."""
    updates = [update async for update in wire_updates(mesh.run(pipeline(name), **options))]
    assert updates[-1].job.state == update_pb2.RUN_STATE_COMPLETED
    return updates


def texts(updates: list[update_pb2.Update]) -> list[str]:
    values = [value_of(update.output) for update in updates if update.WhichOneof("kind") == "output"]
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    """A value as the command prints it."""
    if isinstance(value, Document):
        return value.content
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


@pytest.mark.many
@pytest.mark.parametrize("name", COMMANDS)
async def test_the_command_of_the_page_prints_what_it_shows(reader: Reader, name: str) -> None:
    reader.paste(COMMANDS[name])


@pytest.mark.parametrize("name", [name for name, block in COMMANDS.items() if block.shown is not None])
async def test_it_puts_out_the_same_wherever_it_runs(mesh: Mesh, name: str) -> None:
    block = COMMANDS[name]
    assert block.shown is not None
    printed = "\n".join(texts(await ended(mesh, name, input=given(block))))
    assert differs(block.shown, printed) == ""


async def test_every_pipeline_and_every_file_of_nodes_is_on_the_page() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        assert path.suffix not in (".pipe", ".py") or f"({path.name})" in page or f"/{path.name}" in page, path.name


async def test_every_command_with_a_node_type_of_the_catalogue_is_in_the_demo() -> None:
    installed = InstalledServices()
    types = [node for family in FAMILIES for node in installed.load(family).nodes]
    catalogue = {name for node in types for name in (manifest_of(node).provider, *node.aliases)}
    for name in example_blocks():
        providers = {component["provider"] for component in json.loads(pipeline(name))["components"]}
        assert not providers & catalogue or name in CATALOGUE, name


async def test_objects_are_handled_while_the_model_still_writes(mesh: Mesh) -> None:
    updates = await ended(mesh, "objects", input="?")
    first = next(update.sequence for update in updates if update.WhichOneof("kind") == "output")
    done = update_pb2.NODE_STATE_COMPLETED
    (written,) = [one.sequence for one in updates if one.node.component == "llm_1" and one.node.state == done]
    assert first < written


@pytest.mark.heavy
async def test_each_message_of_a_moderated_chat_takes_its_way(mesh: Mesh) -> None:
    messages = (EXAMPLES / "inputs" / "messages.txt").read_text(encoding="utf-8").splitlines()
    answers = texts(await ended(mesh, "moderated_chat", inputs=messages))
    assert [answer.partition(" ")[0] for answer in sorted(answers)] == ["Fill", "Let", "Please"]


@pytest.mark.conformance("FIRE-07")
async def test_the_endless_clock_is_stopped_and_its_leftovers_are_told(mesh: Mesh) -> None:
    updates = await ended(mesh, "zip", input="one two three")
    assert texts(updates) == ["0.0 one", "0.5 two", "1.0 three"]
    sent = max(update.edge.sent for update in updates if update.edge.edge_id.startswith("seconds_1"))
    assert sent <= 3 + 16
    assert any("left over" in update.log.message for update in updates)


@pytest.mark.conformance("FIRE-08")
async def test_whatever_is_slow_or_dropped_siblings_meet(mesh: Mesh) -> None:
    words = [f"{'x' * (number % 7)}{number}" for number in range(40)]
    updates = await ended(mesh, "diamond", input=" ".join(words))
    assert texts(updates) == [f"{word[::-1]} {len(word)}" for word in words if len(word) > 3]


@pytest.mark.conformance("FIRE-04")
async def test_a_unit_that_is_named_in_mid_stream_counts_from_then_on(mesh: Mesh) -> None:
    endless = {"thermometer_1.readings": 10_000_000, "thermometer_1.pause": 0.001}
    async with mesh.run(pipeline("control"), settings=endless, open_input=True) as run:
        await run.push("celsius")
        shown = run.values()
        for unit in ("°C", "°F", "°C"):
            async for value in shown:  # what was on its way comes first
                if value.endswith(unit):
                    break
            assert [(await anext(shown))[-2:] for _ in range(20)] == [unit] * 20
            await run.push("fahrenheit" if unit == "°C" else "celsius")


async def test_the_producer_is_never_further_ahead_than_the_lane_allows(mesh: Mesh) -> None:
    updates = await ended(mesh, "backpressure")
    told = [update.edge for update in updates if update.edge.edge_id.startswith("camera_1")]
    assert len(told) > 3
    assert all(edge.sent - edge.consumed <= 10 and edge.limit_items == 10 for edge in told)
    assert any(edge.buffered >= 8 for edge in told)
    progress = [update.progress for update in updates if update.WhichOneof("kind") == "progress"]
    assert (progress[-1].component, progress[-1].done) == ("detector_1", 300)
