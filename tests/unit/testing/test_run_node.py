"""`run_node`: one node on trial, from plain tests and from async ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
from lanemesh import (
    Answer,
    Context,
    In,
    Inputs,
    Invokes,
    LanemeshError,
    Node,
    Out,
    Outputs,
    ProgressUpdate,
    Question,
    ThoughtUpdate,
)
from lanemesh.chat import ChatRequest, ChatText
from lanemesh.faults import ValueRefused
from lanemesh.node.runtime.actor import State
from lanemesh.testing import DictMemory, ScriptedAgent, ScriptedModel, run_node, run_node_async
from lanemesh.values import Message
from pydantic import BaseModel, ValidationError


class Add(Node):
    """Adds two numbers."""

    a: In[float]
    b: In[float] = 0.0
    total: Out[float]

    def process(self, context: Context) -> dict[str, Any]:
        return {"total": self.a + self.b}


class Countdown(Node):
    """Counts down from a number, one item at a time."""

    start: In[int]
    number: Out[int]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, int]]:
        for number in range(self.start, 0, -1):
            yield "number", number


class Shout(Node):
    """Upper-cases text as it streams by."""

    text: In[str]
    shouted: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for piece in inputs.stream("text"):
            await outputs.emit("shouted", piece.upper())


class Pair(Node):
    """Shows what a firing sees."""

    a: In[Any] = None
    b: In[Any] = None
    pair: Out[list[Any]]

    def process(self, context: Context) -> dict[str, Any]:
        return {"pair": [self.a, self.b]}


class Raise(Node):
    """Fails on a word, after those before it."""

    text: In[str]
    said: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        if self.text == "bad":
            raise ValueError("a bad word")
        return {"said": self.text}


class Life(Node):
    """Writes down what happens to it."""

    class Config(BaseModel):
        name: str = "it"

    seen: ClassVar[list[str]] = []
    word: Out[str]

    @classmethod
    async def load(cls, config: Any) -> Any:
        cls.seen.append(f"load {config.name}")
        return config.name.upper()

    @classmethod
    async def unload(cls, resource: Any) -> None:
        cls.seen.append(f"unload {resource}")

    def process(self, context: Context) -> dict[str, Any]:
        return {"word": self.resource}

    async def finalize(self, context: Context) -> None:
        self.seen.append("finalize")


class Ask(Node):
    """Asks its model, and then a tool."""

    questions: In[Question]
    answers: Out[Answer]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Answer]]:
        async for event in context.llm.stream(self.questions.text):
            if isinstance(event, ChatText):
                yield "answers", Answer(event.text)
        yield "answers", Answer(str(await context.tools["add"](a=1, b=2)), finish_reason="stop")


class Progress(Node):
    """Tells how far it is."""

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        context.progress(1, 2)
        await context.report_tool("done", wave=2)


class Endless(Node):
    """Never ends."""

    text: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        while True:
            yield "text", "more"


def test_a_process_node_fires_per_item() -> None:
    result = run_node(Add, a=[1, 2], b=[3])
    assert result.total == result.outputs["total"] == [1, 2, 5]  # all of `a` arrives first, and `b` has a default
    assert result.state is State.COMPLETED


def test_values_arrive_input_by_input_in_the_order_given() -> None:
    assert run_node(Pair, a=[1, 2], b=[3]).pair == [[1, None], [2, None], [2, 3]]
    assert run_node(Pair, b=[3], a=[1, 2]).pair == [[None, 3], [1, 3], [2, 3]]


@pytest.mark.conformance("FIRE-02")
def test_arrivals_across_inputs_in_any_order() -> None:
    result = run_node(Pair, arrivals=[("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2")])
    assert result.pair == [["a1", None], ["a1", "b1"], ["a2", "b1"], ["a2", "b2"]]
    assert result.firings == 4


def test_what_is_no_list_is_one_item() -> None:
    assert run_node(Add, a=1).total == [1]
    assert run_node(Shout, text="hello").shouted == ["HELLO"]
    assert run_node(Shout, text=iter(["a", "b"])).shouted == ["A", "B"]


def test_generators_and_run_nodes() -> None:
    assert run_node(Countdown, start=[3, 1]).number == [3, 2, 1, 1]
    assert run_node(Shout, text=["a", "b"]).shouted == ["A", "B"]


def test_zip_all_with_a_reused_input() -> None:
    assert run_node(Add, sync_mode="zip_all", a=[1, 2], b=[10, 20]).total == [11, 22]
    assert run_node(Add, sync_mode="zip_all", reused=["b"], a=[1, 2], b=10).total == [11, 12]


async def test_from_an_async_test() -> None:
    assert (await run_node_async(Add, a=[1])).total == [1]
    with pytest.raises(RuntimeError, match="await run_node_async"):
        run_node(Add, a=[1])


def test_the_nodes_own_exception_is_raised() -> None:
    with pytest.raises(ValueError, match="a bad word"):
        run_node(Raise, text=["good", "bad"])


def test_or_kept_with_what_came_before_it() -> None:
    result = run_node(Raise, text=["good", "bad", "never"], raises=False)
    assert (result.state, result.said, result.firings) == (State.FAILED, ["good"], 2)
    assert isinstance(result.error, ValueError)


def test_load_finalize_and_unload_happen() -> None:
    Life.seen.clear()
    assert run_node(Life, config={"name": "anna"}).word == ["ANNA"]
    assert Life.seen == ["load anna", "finalize", "unload ANNA"]


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        run_node(Life, config={"nam": "anna"})


def test_an_input_that_ends_empty_skips_the_node() -> None:
    result = run_node(Add, a=[], b=[1])
    assert (result.state, result.firings) == (State.SKIPPED, 0)
    assert '"a"' in result.detail


def test_wrong_names_and_values_are_reported() -> None:
    with pytest.raises(TypeError, match='no input "c"; its inputs: a, b'):
        run_node(Add, a=1, c=2)
    with pytest.raises(TypeError, match='needs its input "a"'):
        run_node(Add, b=2)
    with pytest.raises(ValueRefused, match="expected str, got int"):
        run_node(Shout, text=1)
    with pytest.raises(LanemeshError, match=r"input add_1\.a got 'x'"):
        run_node(Add, a="x")
    with pytest.raises(AttributeError, match='no output "sum"; its outputs: total'):
        _ = run_node(Add, a=1).sum


def test_a_model_and_tools_stand_in() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    model = ScriptedModel(["It ", "is "])
    result = run_node(Ask, questions=Question("1 + 2?"), llm=model, tools={"add": add})
    assert "".join(answer.text for answer in result.answers) == "It is 3"
    assert model.requests == [ChatRequest((Message("user", "1 + 2?"),))]
    groups = [item.envelope.group for item in result.items["answers"] if item.envelope]
    assert [group.index for group in groups if group] == [0, 1, 2]


def test_an_unconnected_port_is_reported() -> None:
    with pytest.raises(LanemeshError, match="no model is connected"):
        run_node(Ask, questions=Question("?"))


def test_reports_are_kept() -> None:
    first, second = run_node(Progress).updates
    assert isinstance(first, ProgressUpdate)
    assert isinstance(second, ThoughtUpdate)
    assert (first.component, first.done, first.total) == ("progress_1", 1, 2)
    assert (second.component, second.text, second.wave) == ("progress_1", "done", 2)


def test_a_node_that_does_not_end_fails_the_test() -> None:
    with pytest.raises(TimeoutError, match=r"endless_1 did not end within 0\.05 s; items until then: .* on text"):
        run_node(Endless, timeout=0.05)


def test_nothing_stays_behind() -> None:
    async def trial() -> Iterator[Any]:
        before = asyncio.all_tasks()
        await run_node_async(Shout, text=["a"])
        await run_node_async(Raise, text=["bad"], raises=False)
        return iter(asyncio.all_tasks() - before)

    assert not list(asyncio.run(trial()))


class Noting(Node):
    """Keeps each text, and finds it again."""

    invokes: ClassVar = (Invokes("memory"), Invokes("agent", 0, None, name="checker"))
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        facts = context.memory.space("session", namespace="facts")
        replaced = await facts.put("a", self.text, ttl=60)
        await facts.put("b", {"n": 1}, text="two words", embedding=[1.0])
        listed = [entry.key async for entry in facts.list("a")]
        found = [(entry.key, entry.score) async for entry in facts.search("two lines")]
        one = await facts.get("a")
        assert one is not None
        assert one.expires_at is not None
        await facts.clear("b")
        checked = [str(await agent.run(one.value)) for agent in context.agents]
        return {"out": f"{replaced} {listed} {found} {one.value} {await facts.get('b')} {checked} {context.session}"}


def test_a_node_uses_a_memory_and_agents() -> None:
    memory, agent = DictMemory({"k": 1}), ScriptedAgent("yes", "no")

    result = run_node(Noting, text=["x", "y"], memory=memory, agents={"checker": agent}, session="s")

    assert result.out == ["False ['a'] [('b', 0.5)] x None ['yes'] s", "True ['a'] [('b', 0.5)] y None ['no'] s"]
    assert memory.values == {"k": 1}
    assert memory.space("session", namespace="facts").values == {"a": "y"}
    assert [request.messages[0].content for request in agent.requests] == ["x", "y"]


def test_error_an_agent_without_a_further_reply_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="called 2 times, but has 1 replies"):
        run_node(Noting, text=["x", "y"], memory={}, agents={"checker": "yes"})
