"""A `run` node sees which of its inputs are connected."""

from __future__ import annotations

from lanemesh import Context, In, Inputs, Node, Out, Outputs
from lanemesh.testing import run_node


class Connected(Node):
    """Sends the names of its connected inputs."""

    left: In[int] = 0
    right: In[int] = 0
    names: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        await outputs.emit("names", " ".join(sorted(inputs.connected)))


def test_an_input_without_items_is_connected_and_an_unnamed_one_is_not() -> None:
    assert run_node(Connected, right=[]).names == ["right"]
    assert run_node(Connected, right=1, left=2).names == ["left right"]
    assert run_node(Connected).names == [""]
