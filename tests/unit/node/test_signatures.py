"""Methods of a wrong form are refused when their class is defined, with the form that they should have."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from lanemesh import Context, In, Inputs, Node, Out, Outputs
from lanemesh.faults import NodeDefinitionError
from lanemesh.node.node import Kind
from lanemesh.testing import run_node


def define(**methods: Any) -> type[Node]:
    """A node class `Wrong` with these methods."""
    annotations = {"text": In[str], "said": Out[str]}
    return type("Wrong", (Node,), {"__annotations__": annotations, "__module__": __name__, **methods})


def plain_run(self: Node, context: Context, inputs: Inputs, outputs: Outputs) -> None: ...


async def run_without_outputs(self: Node, context: Context) -> None: ...


async def run_that_yields(self: Node, context: Context, inputs: Inputs, outputs: Outputs) -> AsyncIterator[str]:
    yield "x"


def process_without_context(self: Node) -> None: ...


async def process_that_yields(self: Node, context: Context) -> AsyncIterator[tuple[str, str]]:
    yield "said", "x"


def gen_process_that_returns(self: Node, context: Context) -> dict[str, str]:
    return {"said": "x"}


async def async_gen_process_that_returns(self: Node, context: Context) -> dict[str, str]:
    return {"said": "x"}


RUN = r"`async def run\(self, context, inputs, outputs\)`"
PROCESS = r"`def process\(self, context\)` or `async def process\(self, context\)`"
GEN_PROCESS = r"`def gen_process\(self, context\)` or .* with `yield \"port\", value`"


@pytest.mark.parametrize(
    ("name", "method", "said"),
    [
        ("run", plain_run, f"that is a plain function; write {RUN}"),
        ("run", run_without_outputs, rf"that takes \(self, context\); write {RUN}"),
        ("run", run_that_yields, f"that yields; write {RUN}"),
        ("process", process_without_context, rf"that takes \(self\); write {PROCESS}"),
        ("process", process_that_yields, f"that yields, which is for `gen_process`; write {PROCESS}"),
        ("gen_process", gen_process_that_returns, f"that yields nothing; write {GEN_PROCESS}"),
        ("gen_process", async_gen_process_that_returns, f"that yields nothing; write {GEN_PROCESS}"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_form_is_refused_with_the_right_one(name: str, method: Callable[..., Any], said: str) -> None:
    with pytest.raises(NodeDefinitionError, match=rf"^the node class Wrong has a `{name}` {said}\.$"):
        define(**{name: method})


def test_a_method_may_have_more_parameters_with_defaults_and_decorators_that_say_what_they_wrap() -> None:
    def traced(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any) -> Any:
            return method(*args)

        return call

    def process(self: Any, context: Context, punctuation: str = "!") -> dict[str, str]:
        return {"said": self.text + punctuation}

    @traced
    def gen_process(self: Any, context: Context) -> Iterator[tuple[str, str]]:
        yield "said", self.text

    @traced
    async def run(self: Node, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        await outputs.emit("said", await inputs.first("text"))

    assert run_node(define(process=process), text="oh").said == ["oh!"]
    assert run_node(define(gen_process=gen_process), text="oh").said == ["oh"]
    assert run_node(define(run=run), text="oh").said == ["oh"]


def test_a_base_without_a_method_leaves_the_choice_to_its_subclasses() -> None:
    assert define().kind_ is Kind.HELPER
