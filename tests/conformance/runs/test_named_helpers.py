"""A node that calls several models reaches each of them, wherever they live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lanemesh_orchestrator import Mesh

NODES = '''
from lanemesh import Context, In, Invokes, Node, Out


async def ask(llm):
    return (await llm.chat("go on")).text


class ByName(Node):
    """Calls two models by name, and one without."""

    invokes = (Invokes("llm"), Invokes("llm", name="writer"), Invokes("llm", name="judge"))
    text: In[str]
    out: Out[str]

    async def process(self, context: Context):
        said = [await ask(context.llms[name]) for name in ("writer", "judge")]
        return " ".join([*said, await ask(context.llm)])


class InOrder(Node):
    """Calls each of its models, and cannot say which one it means without."""

    invokes = (Invokes("llm", min=2, max=None), Invokes("tool", min=0, max=None))
    text: In[str]
    out: Out[str]

    async def process(self, context: Context):
        said = [await ask(llm) for llm in context.llms]
        try:
            context.llm
        except Exception as error:
            said.append(error.fault.reason)
        for toolset in context.toolsets:
            said += [spec.name for spec in await toolset.specs()]
        return " ".join(said)
'''


def model(number: int, said: str, **control: str) -> dict[str, Any]:
    return {
        "id": f"llm_{number}",
        "provider": "llm_scripted",
        "config": {"script": [said]},
        "control": [{"classType": "llm", "from": "n_1", **control}],
    }


def pipeline(provider: str, *helpers: dict[str, Any]) -> dict[str, Any]:
    chat = {"id": "chat_1", "provider": "chat"}
    node = {"id": "n_1", "provider": provider, "input": [{"lane": "text", "from": "chat_1"}]}
    response = {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "n_1"}]}
    return {"components": [chat, node, *helpers, response]}


@pytest.mark.parametrize("spread", [None, "service"])
async def test_every_helper_is_reached(tmp_path: Path, spread: str | None) -> None:
    nodes = tmp_path / "several_nodes.py"
    nodes.write_text(NODES)
    tools = tmp_path / "its_tools.py"
    tools.write_text("def shovel() -> int:\n    return 1\n")
    tool = {
        "id": "tool_1",
        "provider": "tool_python",
        "config": {"file": str(tools)},
        "control": [{"classType": "tool", "from": "n_1", "name": "garden"}],
    }
    named = pipeline("by_name", model(1, "verdict", name="judge"), model(2, "plain"), model(3, "poem", name="writer"))
    listed = pipeline("in_order", model(1, "one"), model(2, "two"), model(3, "three"), tool)
    async with Mesh(nodes=[str(nodes)], spread=spread) as mesh:  # type: ignore[arg-type]
        assert await said(mesh, named) == "poem verdict plain"
        assert await said(mesh, listed) == "one two three several-helpers shovel"


async def said(mesh: Mesh, document: dict[str, Any]) -> str:
    """The text that a run sends."""
    result = await mesh.run(document, input="x").result()
    assert result.error is None, result.error
    (text,) = result.values
    return str(text)
