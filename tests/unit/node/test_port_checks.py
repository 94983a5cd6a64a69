"""What ports may be called, and what they check."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import numpy as np
import pytest
from lanemesh import Context, In, Invokes, LanemeshError, Node, Out, Tags
from lanemesh.faults import NodeDefinitionError
from lanemesh.node.ports import ports_of
from lanemesh.testing import run_node
from pydantic import Field

RESERVED = (
    *(
        "version",
        "load",
        "unload",
        "finalize",
        "profiles",
        "provider",
        "isolation",
        "config",
        "resource",
        "offers",
        "aliases",
    ),
    *(
        "invokes",
        "restartable",
        "sync_mode",
        "boundary",
        "kind_",
        "inputs_",
        "Config",
        "runs_to_end",
        "sends_one",
    ),
    *("process", "gen_process", "run", "__class__", "__dict__", "_Odd__mangled"),
)


@pytest.mark.parametrize("port", RESERVED)
@pytest.mark.parametrize("kind", [In, Out])
def test_a_port_called_like_an_attribute_of_every_node_is_refused(port: str, kind: Any) -> None:
    with pytest.raises(NodeDefinitionError, match=f'reserved name "{port}"'):
        type("Odd", (Node,), {"__annotations__": {port: kind[str]}})


@pytest.mark.parametrize(
    ("kind", "method"),
    [("llm", "chat"), ("tool", "list_tools"), ("tool", "call_tool"), ("memory", "search"), ("agent", "run_agent")],
)
def test_a_port_called_like_a_method_of_helpers_is_refused_only_in_nodes_of_that_kind(kind: str, method: str) -> None:
    with pytest.raises(NodeDefinitionError, match=f'reserved name "{method}"'):
        type("Odd", (Node,), {"offers": (kind,), "__annotations__": {method: In[str]}})

    plain = type("Plain", (Node,), {"__annotations__": {method: In[str]}, "process": lambda self, context: {}})
    assert list(plain.inputs_) == [method]  # type: ignore[attr-defined]


def test_a_port_called_like_a_method_of_a_base_is_refused_and_a_redeclared_one_is_not() -> None:
    class Base(Node):
        text: In[str] = "x"

        def helper(self) -> None:
            """Helps."""

    with pytest.raises(NodeDefinitionError, match='reserved name "helper"'):
        type("Odd", (Base,), {"__annotations__": {"helper": In[str]}})
    with pytest.raises(NodeDefinitionError, match='reserved name "text"'):
        type("Odd", (Base,), {"text": lambda self: None})
    again: Any = type("Again", (Base,), {"__annotations__": {"text": In[str]}, "text": "y"})
    assert again.inputs_["text"].default == "y"


@pytest.mark.parametrize(
    "port", ["context", "name", "description", "self", "input", "output", "inputs", "outputs", "class"]
)
def test_other_names_are_free(port: str) -> None:
    body = {"process": lambda self, context: getattr(self, port)}
    node: Any = type("Free", (Node,), {"__annotations__": {port: In[str], "out": Out[str]}, **body})
    assert run_node(node, arrivals=[(port, "x")]).out == ["x"]


OUT: Any = Out


def sending(annotation: Any, value: Any) -> Any:
    body = {"process": lambda self, context: {"out": value}}
    return type("Sends", (Node,), {"__annotations__": {"out": OUT[annotation]}, **body})


@pytest.mark.parametrize(
    ("annotation", "value", "sent"),
    [
        (int, np.int64(3), 3),
        (float, np.float32(0.5), 0.5),
        (float, 3, 3.0),
        (bool, np.bool_(True), True),
        (int, np.array(3), 3),
        (list[int], (1, 2), [1, 2]),
        (Annotated[int, Field(ge=0)], 3, 3),
        (str, np.str_("x"), "x"),
    ],
)
def test_an_output_sends_what_it_declares(annotation: Any, value: Any, sent: Any) -> None:
    (got,) = run_node(sending(annotation, value)).out
    assert (got, type(got)) == (sent, type(sent))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "text"),
        (int, 0.5),
        (int, True),
        (int, None),
        (dict, [1]),
        (list[int], ["x"]),
        (Annotated[int, Field(ge=0)], -1),
        (Annotated[str, Field(max_length=2)], "long"),
    ],
)
def test_an_output_refuses_what_it_does_not_declare(annotation: Any, value: Any) -> None:
    with pytest.raises(LanemeshError, match=r"the output sends_1\.out was sent"):
        run_node(sending(annotation, value))


class Unprintable(str):
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Unprintable("text"), "<Unprintable that cannot be formatted: RuntimeError was raised>"),
        ("x" * 1000, f"'{'x' * 41}..."),
        (0.5, "0.5"),
    ],
)
def test_a_refused_value_is_shown_in_the_error_whatever_it_is(value: Any, shown: str) -> None:
    (output,) = ports_of(sending(int, 1))[1].values()
    check = output.checker("sends_1")
    assert check is not None
    with pytest.raises(LanemeshError) as raised:
        check(value)
    expected = f"the output sends_1.out was sent {shown}"
    message = str(raised.value)
    assert message.startswith(expected)
    assert ", which is not an int: " in message[: len(expected) + 60]


def test_constraints_of_inputs_are_kept() -> None:
    class Limited(Node):
        one: Annotated[In[int], Field(ge=0)] = 0
        two: In[Annotated[int, Field(ge=0)]] = 0
        three: In[int] = Field(4, ge=0, description="A third one.")
        text: Annotated[In[str], Field(max_length=2)] = ""
        many: In[list[Annotated[int, Field(ge=0)]]] = Field(default_factory=list)
        out: Out[list[Any]]

        def process(self, context: Context) -> Any:
            return [self.one, self.two, self.three, self.text, self.many]

    assert Limited.inputs_["three"].description == "A third one."
    assert run_node(Limited, one=1).out == [[1, 0, 4, "", []]]
    for port, value in (("one", -1), ("two", -1), ("three", -1), ("text", "long"), ("many", [-1])):
        with pytest.raises(LanemeshError, match=rf"limited_1\.{port} got"):
            run_node(Limited, arrivals=[(port, one) for one in (value if isinstance(value, list) else [value])])


def test_a_field_without_default_makes_an_input_required() -> None:
    class Wants(Node):
        n: In[int] = Field(ge=0)

        def process(self, context: Context) -> None:
            """Takes it."""

    assert Wants.inputs_["n"].required


def test_a_constraint_of_a_whole_list_is_refused() -> None:
    with pytest.raises(NodeDefinitionError, match="its constraints apply to each item"):

        class Odd(Node):
            many: Annotated[In[list[int]], Field(max_length=3)]


@pytest.mark.parametrize(("annotation", "value"), [(str, "word"), (int, 3), (list, [("out", 1)]), (Tags, Tags(a=1))])
def test_a_process_with_one_output_may_return_the_value_alone(annotation: Any, value: Any) -> None:
    for asynchronous in (False, True):

        async def later(self: Any, context: Context) -> Any:
            return value

        body = later if asynchronous else (lambda self, context: value)
        node: Any = type("Bare", (Node,), {"__annotations__": {"n": In[int], "out": OUT[annotation]}, "process": body})
        got = run_node(node, n=[1]).out[0]
        assert got == value or list(map(tuple, got)) == value


def test_what_a_body_leaves_on_self_is_warned_of() -> None:
    class Counts(Node):
        n: In[int]
        out: Out[int]
        count = 0

        def process(self, context: Context) -> Any:
            self.count += 1
            return self.count

    with pytest.warns(UserWarning, match=r"Counts\.process sets self\.count, which later firings do not see"):
        assert run_node(Counts, n=[1, 2]).out == [1, 1]


def test_a_body_that_leaves_nothing_is_not_warned_of() -> None:
    class Adds(Node):
        n: In[int]
        out: Out[int]

        def process(self, context: Context) -> Any:
            self.n += 1
            return self.n

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_node(Adds, n=[1, 2]).out == [2, 3]


def test_bounds_of_invokes() -> None:
    assert (Invokes("llm").min, Invokes("llm").max) == (1, 1)
    assert (Invokes("llm", min=2).max, Invokes("tool", 0, None).max) == (2, None)
    with pytest.raises(NodeDefinitionError, match="min <= max"):
        Invokes("llm", 2, 1)
    with pytest.raises(NodeDefinitionError, match="have the same kind and the same name"):
        type("Odd", (Node,), {"invokes": (Invokes("llm"), Invokes("llm"))})
