"""Methods of a wrong form are refused when their class is defined, with the form that they should have."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from lanemesh import Context, In, Inputs, Node, Out, Outputs
from lanemesh.faults import NodeDefinitionError
from lanemesh.node.node import Kind, Service
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


def test_a_method_may_have_more_parameters_with_defaults_and_decorators_that_name_the_wrapped_function() -> None:
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


def load_plain(cls: Any, config: Any) -> Any:
    return {"made": 1}


def load_later(cls: Any, config: Any) -> Any:
    async def made() -> Any:
        return {"made": 1}

    return made()


@pytest.mark.parametrize("load", [load_plain, load_later])
def test_hooks_may_be_plain_functions(load: Callable[..., Any]) -> None:
    ended: list[str] = []

    class Hooked(Node):
        out: Out[int]

        def process(self, context: Context) -> Any:
            return {"out": self.resource["made"]}

        def finalize(self, context: Context) -> Any:
            ended.append(context.component)

    Hooked.load = classmethod(load)  # type: ignore[method-assign, assignment]
    assert run_node(Hooked).out == [1]
    assert ended == ["hooked_1"]


async def finalize_that_yields(self: Any, context: Any) -> Any:
    yield


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"load": lambda self, config: None}, "has a `load` that is no classmethod"),
        ({"load": classmethod(lambda cls: None)}, r"has a `load` that takes \(nothing\)"),
        ({"finalize": lambda self: None}, r"has a `finalize` that takes \(self\)"),
        ({"finalize": finalize_that_yields}, "has a `finalize` that yields"),
        ({"offers": ("tool",), "list_tools": lambda self: []}, r"has a `list_tools` that takes \(self\)"),
        ({"offers": ("tool",), "call_tool": process_without_context}, "has a `call_tool` that takes"),
        ({"proces": lambda self, context: None}, "has a method `proces`, which nothing calls; rename it to `process`"),
        ({"Process": lambda self, context: None}, "rename it to `process`"),
        ({"genprocess": lambda self, context: None}, "rename it to `gen_process`"),
        ({"finalise": lambda self, context: None}, "rename it to `finalize`"),
    ],
)
def test_a_hook_or_name_that_cannot_be_right_is_refused(methods: dict[str, Any], said: str) -> None:
    with pytest.raises(NodeDefinitionError, match=said):
        type("Wrong", (Node,), methods)


def test_names_of_their_own_are_no_misspelt_bodies() -> None:
    methods = ("preprocess", "process_rows", "processed", "rerun", "runs", "loads")
    body = {"process": lambda self, context: None}
    for has in ({}, body):
        type("Fine", (Node,), {**has, **{name: (lambda self: None) for name in methods}})


def test_a_forgotten_return_is_refused() -> None:
    with pytest.raises(NodeDefinitionError, match="computes a value for an output but returns nothing"):

        class Forgets(Node):
            out: Out[int]

            def process(self, context: Context) -> Any:
                {"out": 1}  # noqa: B018
                result = {"out": 2}
                print(result)


def test_forgotten_in_and_out_are_refused() -> None:
    with pytest.raises(
        NodeDefinitionError, match=r"text is annotated as str but is not a port .* write `text: In\[str\]`"
    ):

        class Forgets(Node):
            text: str
            out: Out[str]

            def process(self, context: Context) -> Any:
                return {"out": self.text}


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def bare(function: Any) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def in_a_loop_of_its_own(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return wrapper


async def async_process(self: Any, context: Context) -> Any:
    await asyncio.sleep(0)
    return {"out": 1}


def sync_process(self: Any, context: Context) -> Any:
    return {"out": 1}


async def async_gen(self: Any, context: Context) -> Any:
    yield "out", 1


def sync_gen(self: Any, context: Context) -> Any:
    yield "out", 1


class CalledObject:
    def __call__(self, context: Context) -> Any:
        return {"out": 1}


@pytest.mark.parametrize("decorator", [wrapped, bare])
@pytest.mark.parametrize(
    ("name", "body"),
    [("process", async_process), ("process", sync_process), ("gen_process", async_gen), ("gen_process", sync_gen)],
)
def test_decorated_bodies_are_awaited_and_iterated(name: str, body: Any, decorator: Any) -> None:
    for concurrency in (1, 2):
        node = type("Decorated", (Node,), {"__annotations__": {"n": In[int], "out": Out[int]}, name: decorator(body)})
        assert run_node(node, n=[1, 2], concurrency=concurrency).out == [1, 1]


@pytest.mark.parametrize(
    "body",
    [
        in_a_loop_of_its_own(async_process),
        functools.partialmethod(sync_process),
        functools.partialmethod(async_process),
        staticmethod(lambda context: {"out": 1}),
        classmethod(lambda cls, context: {"out": 1}),
        CalledObject(),
    ],
)
def test_other_callables_are_bodies(body: Any) -> None:
    node = type("Other", (Node,), {"__annotations__": {"n": In[int], "out": Out[int]}, "process": body})
    assert run_node(node, n=[1, 2]).out == [1, 1]


def test_error_a_service_whose_node_type_lacks_a_method_of_a_kind_that_it_offers() -> None:
    class Base(Node):
        """A model whose subclasses implement `chat`."""

        offers = ("llm",)

    with pytest.raises(NodeDefinitionError, match=r'Base offers "llm", but has no `chat`; write `async def chat'):
        Service(name="models", nodes=(Base,))


def process(self: Node, context: Context) -> dict[str, str]:
    return {"said": "x"}


@pytest.mark.parametrize("policy", ["skip", "fail", {"retry": {"attempts": 3}}])
def test_a_policy_of_errors_is_refused_in_a_class(policy: object) -> None:
    with pytest.raises(NodeDefinitionError, match="it sets on_error, which is a field of components"):
        define(process=process, on_error=policy)


def test_a_method_may_have_the_name_of_the_policy() -> None:
    assert define(process=process, on_error=plain_run).kind_ is Kind.PROCESS

    class Ported(Node):
        on_error: In[str] = ""
        said: Out[str]

        async def process(self, context: Context) -> dict[str, str]:
            return {"said": self.on_error}

    assert list(Ported.inputs_) == ["on_error"]
