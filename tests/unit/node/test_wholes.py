"""Inputs that are declared as whole, and what `run` reads from."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from lanemesh import Answer, Context, Document, Image, In, Inputs, Node, Out, Outputs, Question, Whole
from lanemesh.faults import Code, EndOfInput, Fault, LaneFault, NodeDefinitionError
from lanemesh.items import Envelope, Group, LaneType
from lanemesh.lanes.inbox.assembler import join_any
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.node.inputs import inbox_of
from lanemesh.node.manifest import manifest_of
from lanemesh.testing import run_node


class Reader(Node):
    """Takes wholes of several sorts."""

    text: Annotated[In[Whole[str]], "What is read."]
    answer: In[Whole[Answer]] = Answer()
    documents: In[list[Whole[Document]]]
    image: In[Whole[Image]] = Image("image/png")
    plain: In[str] = ""
    read: Out[str]

    def process(self, context: Context) -> dict[str, str]:
        return {"read": f"{self.text} {self.plain} {len(self.documents)}"}


class Loose(Node):
    """Has an input of any lane."""

    text: In[str]
    anything: In[Any] = None
    seen: Out[str]

    def process(self, context: Context) -> dict[str, str]:
        return {"seen": f"{self.text} {self.anything}"}


class First(Node):
    """Reads one item of each."""

    text: In[str]
    more: In[str] = "none"
    seen: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        await outputs.emit("seen", await inputs.first("more"))
        await outputs.emit("seen", await inputs.first("text"))


def test_a_whole_has_the_lane_of_its_type_in_the_manifest_too() -> None:
    specs = Reader.inputs_
    assert {name for name, spec in specs.items() if spec.assembled} == {"text", "answer", "documents", "image"}
    assert specs["text"].lane_type is LaneType.TEXT
    assert specs["text"].description == "What is read."
    assert specs["text"].annotation is str
    assert (specs["documents"].is_list, specs["documents"].annotation) == (True, Document)
    assembled = {port.name: port.assembled for port in manifest_of(Reader).inputs}
    assert assembled == {"text": True, "answer": True, "documents": True, "image": True, "plain": False}


def test_items_without_a_group_are_wholes_by_themselves() -> None:
    result = run_node(Reader, text=["a", "b"], documents=[Document("1"), Document("2")])
    assert result.read == ["a  2", "b  2"]


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        (
            In[Whole[Question]],
            "is a whole of type Question, whose pieces cannot be assembled; wholes are str, Answer",
        ),
        (In[Whole[dict[str, Any]]], "is a whole of type dict"),
        (In[Whole[list[str]]], r"is a whole list; write In\[list\[Whole\[str\]\]\]"),
        (Out[Whole[str]], "the output port is declared as whole; only an input can be"),
    ],
)
def test_what_cannot_be_whole_is_refused_when_it_is_defined(hint: Any, told: str) -> None:
    with pytest.raises(NodeDefinitionError, match=told):
        type("Wrong", (Node,), {"__annotations__": {"port": hint}, "process": lambda self, context: None})


def test_an_input_of_any_lane_may_be_left_unconnected() -> None:
    assert list(inbox_of(Loose).ports) == ["text", "anything"]
    assert run_node(Loose, text=["a"]).seen == ["a None"]


def test_the_first_of_an_input_or_its_default_or_a_named_error() -> None:
    assert run_node(First, text=["a", "b"]).seen == ["none", "a"]
    assert run_node(First, text="a", more=["m", "n"]).seen == ["m", "a"]
    with pytest.raises(EndOfInput, match='the input "text" of first_1 ended without an item') as caught:
        run_node(First, text=[])
    assert caught.value.fault.reason == "end-of-input"
    assert isinstance(caught.value, LookupError)


async def test_every_way_of_reading_can_leave_faults_to_who_asks() -> None:
    fault = Fault(code=Code.UNKNOWN, reason="node-error", message="no ink")
    inbox = Inbox(["a", "b"])
    inputs = Inputs("reader_1", inbox, {})
    edges = {name: inbox.add_edge(name, name) for name in "ab"}
    edges["a"].put("1", 1, Envelope(group=Group("g", 0, True)))
    edges["a"].end(fault)
    edges["b"].put("2", 1, None)
    edges["b"].end()
    assert [value async for value in inputs.stream("a", raising=False)] == ["1"]
    assert [pair async for pair in inputs.iter_any(raising=False)] == [("b", "2")]
    assert [pair async for pair in inputs.iter_items(raising=False)] == []
    assert inputs.fault("a") == fault
    assert inputs.fault("b") is None
    for reading in (inputs.stream("a"), inputs.iter_any(), inputs.iter_items()):
        with pytest.raises(LaneFault, match="no ink"):
            await anext(reading)


class Anything(Node):
    """Takes wholes of any lane, by `process`."""

    item: In[Whole[Any]]
    same: Out[Any]

    def process(self, context: Context) -> Any:
        return self.item


class AnythingRead(Node):
    """Takes wholes of any lane, by `run`."""

    item: In[Whole[Any]]
    same: Out[Any]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for item in inputs.stream("item"):
            await outputs.emit("same", item)


@pytest.mark.parametrize("node", [Anything, AnythingRead])
async def test_wholes_of_any_lane_are_assembled_by_the_type_of_their_pieces(node: type[Node]) -> None:
    inbox = inbox_of(node)
    edge = inbox.add_edge("e", "item")
    for value, index in ((Answer("a"), 0), (Answer("b", finish_reason="stop"), 1)):
        edge.put(value, 1, Envelope(group=Group("g", index, index == 1)))
    edge.end()
    assert [value async for value in inbox.stream("item")] == [Answer("ab", finish_reason="stop")]


def test_pieces_of_different_types_are_no_whole() -> None:
    assert join_any([Image("image/png", b"a"), Image("image/png", b"b")]).content == b"ab"
    assert join_any([{"a": 1}]) == {"a": 1}
    with pytest.raises(ValueError, match="pieces of the type Answer, str cannot be assembled"):
        join_any(["a", Answer("b")])
