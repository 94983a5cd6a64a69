"""An agent in a pipeline: approvals, schedules, budgets, stored results, calls by JSON, sub-agents."""

from __future__ import annotations

import json
import os
import signal
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from lanemesh import (
    ApprovalState,
    ApprovalUpdate,
    LogUpdate,
    OutputUpdate,
    Question,
    RunFailed,
    ThoughtUpdate,
    ToolCallUpdate,
    ToolResultUpdate,
    ToolSpec,
    ToolUpdate,
)
from lanemesh_orchestrator import Mesh

from .conftest import asking, call, helper

pytestmark = [pytest.mark.asyncio(loop_scope="session")]

ADD = {"tool_calls": [call("add", a=1, b=2)]}


async def steps(mesh: Mesh, document: dict[str, Any]) -> tuple[str, list[Any]]:
    """The answer of a run, and the updates of agents."""
    found, texts = [], []
    async with aclosing(mesh.run(document, input="go").updates()) as updates:
        async for update in updates:
            if isinstance(update, OutputUpdate):
                texts.append(update.value)
            elif isinstance(update, ToolUpdate | ApprovalUpdate):
                found.append(update)
    return "".join(texts), found


def results(found: list[Any], component: str = "agent") -> list[ToolResultUpdate]:
    return [one for one in found if isinstance(one, ToolResultUpdate) and one.component == component]


async def test_an_approved_call_is_made_and_a_refused_one_is_a_result(agents: Mesh) -> None:
    script = [{"tool_calls": [call("add", a=1, b=2), call("rows", count=1)]}, "Done."]
    async with agents.run(asking(script, approve=["tools.add", "r*"]), input="go") as run:
        found: list[Any] = []
        async with aclosing(run.updates()) as updates:
            async for update in updates:
                if isinstance(update, ApprovalUpdate) and update.state is ApprovalState.REQUESTED:
                    assert not results(found)
                    if update.tool == "add":
                        assert json.loads(update.arguments) == {"a": 1, "b": 2}
                        await run.approve(update.call_id)
                    else:
                        await run.refuse(update.call_id, "too many rows")
                found.append(update)
    by_tool = {one.name: one for one in results(found)}
    assert by_tool["add"].content == "3"
    assert by_tool["rows"].is_error
    assert "too many rows" in by_tool["rows"].content


async def test_an_approval_of_a_tool_that_is_not_there_is_a_fault(agents: Mesh) -> None:
    document = asking([ADD, "Added."], approve=["ad", "tolls.*", "delete_*", "add"])
    result = await agents.run(document, input="go").result()
    assert result.error is not None
    assert result.error.reason == "unmatched-approval"
    assert 'agent: config.approve has the patterns "ad", "tolls.*", which match no tool' in result.error.message
    assert "tools.add" in result.error.message
    assert "delete_*" not in result.error.message


async def test_patterns_that_may_match_a_later_tool_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "changing.py").write_text(CHANGING)
    document = asking(
        [{"tool_calls": [call("now")]}, "Done."],
        helper("more", "changing", "tool", "agent"),
        approve=["later", "add_*"],
        schedules={"*": "wait", "rest": "background"},
    )
    async with Mesh(nodes=tmp_path / "changing.py") as mesh, mesh.run(document, input="go") as run:
        lines = [update.message async for update in run.updates() if isinstance(update, LogUpdate)]
    assert [line.partition("; the tools: ")[0] for line in lines] == [
        'config.approve has the pattern "later", which matches no tool',
        'config.approve has the pattern "add_*", which matches no tool',
        'config.schedules has the pattern "rest", which matches no tool',
    ]
    assert "more.now" in lines[0]
    assert run.state == "completed"


CHANGING = """
from lanemesh import Context, Node, ToolCall, ToolResult, ToolSpec


class Changing(Node):
    \"\"\"Tools that may come and go.\"\"\"

    offers = ("tool",)

    async def list_tools(self, context: Context):
        return [ToolSpec("now")]

    async def call_tool(self, context: Context, call: ToolCall):
        yield ToolResult("1")
"""


async def test_an_approval_without_a_decision_is_refused(agents: Mesh) -> None:
    answer, found = await steps(agents, asking([ADD, "Not added."], approve=["add"], approval_timeout=0.05))
    assert answer == "Not added."
    assert "no decision within 0.05 s" in results(found)[0].content


async def test_a_background_result_comes_in_a_later_wave(agents: Mesh) -> None:
    script = [{"tool_calls": [call("nap", seconds=0.05)]}, "I wait.", "Rested: {{memory.wave-1.r1}}"]
    answer, found = await steps(agents, asking(script, schedules={"nap": "background"}))
    assert answer == "Rested: rested"
    (result,) = results(found)
    assert (result.content, result.is_error) == ('"rested"', False)
    assert [one.text for one in found if isinstance(one, ThoughtUpdate)] == ["I wait."]


async def test_a_result_with_the_schedule_interrupt_breaks_off_a_turn(agents: Mesh) -> None:
    script = [{"tool_calls": [call("nap", seconds=0.05)]}, "word " * 2_000, "Rested."]
    document = asking(script, schedules={"nap": "interrupt"}, model={"delay": 0.01})
    answer, found = await steps(agents, document)
    assert answer == "Rested."
    assert "interrupted by the result of a call" in [one.text for one in found if isinstance(one, ThoughtUpdate)]


async def test_the_model_cancels_a_call(agents: Mesh) -> None:
    script = [{"tool_calls": [call("hang")]}, {"tool_calls": [call("cancel_call", call_id="call_0_0")]}, "Cancelled."]
    answer, found = await steps(agents, asking(script, schedules={"hang": "background"}))
    assert answer == "Cancelled."
    by_tool = {one.name: one for one in results(found)}
    assert by_tool["hang"].is_error
    assert "cancelled" in by_tool["hang"].content
    assert json.loads(by_tool["cancel_call"].content) == {"cancelled": "call_0_0"}


async def test_results_are_stored_and_read_by_references_and_peek(agents: Mesh) -> None:
    script = [
        {"tool_calls": [call("rows"), call("add", a=3, b=4)]},
        {"tool_calls": [call("peek", key="wave-1.r1", start=38, length=2), call("add", a="{{memory.wave-1.r2}}", b=1)]},
        "| {{memory.wave-1.r1/39/name}} {{memory.wave-1.r2}}\n{{memory.wave-2.r1:json}} {{memory.nothing}}",
    ]
    answer, found = await steps(agents, asking(script, max_result=100))
    by_id = {one.call_id: one for one in results(found)}
    part = json.loads(by_id["call_1_0"].content)
    assert (part["items"], [row["n"] for row in part["part"]]) == (40, [38, 39])
    assert by_id["call_1_1"].content == "8"
    assert answer == "| row 39 7\n{{memory.wave-2.r1:json}} {{memory.nothing}}"  # a peek is not stored again


async def test_a_table_of_results(agents: Mesh) -> None:
    script = [{"tool_calls": [call("rows", count=2)]}, "{{memory.wave-1.r1:markdown_table}}"]
    answer, _ = await steps(agents, asking(script))
    assert answer.splitlines() == ["| n | name |", "| --- | --- |", "| 0 | row 0 |", "| 1 | row 1 |"]


@pytest.mark.parametrize(
    ("budget", "why"),
    [({"calls": 1}, "its budget of 1 tool call"), ({"tokens": 1}, "its budget of 1 tokens")],
)
async def test_a_budget_ends_in_an_answer_that_states_it(embedded_agents: Mesh, budget: Any, why: str) -> None:
    script = [{"text": "One.", **ADD}, {"text": "Two.", "tool_calls": [call("add", a=2, b=2)]}, "About 3."]
    answer, found = await steps(embedded_agents, asking(script, budget=budget))
    assert answer.endswith(f"[Stopped after {why} was used up.]")
    assert len(results(found)) == 1


@pytest.mark.parametrize("kind", ["agent", "tool"])
@pytest.mark.parametrize(
    ("budget", "why"), [({"tokens": 250}, "budget of 250 tokens"), ({"calls": 2}, "budget of 2 tool calls")]
)
async def test_a_sub_agent_uses_up_the_budget_of_its_caller(
    embedded_agents: Mesh, kind: str, budget: Any, why: str
) -> None:
    document = asking(
        [{"tool_calls": [call("worker", task="go on")]}, "Done."],
        helper("worker", "agent_wave", kind, "agent"),
        helper(
            *("worker_model", "llm_scripted", "llm", "worker"),
            script=[
                {"text": "word " * 300, **ADD},
                {"tool_calls": [call("add", a=2, b=2)]},
                {"tool_calls": [call("hang")]},
            ],
        ),
        helper("worker_tools", "tool_python", "tool", "worker", file=document_tools()),
        budget=budget,
    )
    answer, found = await steps(embedded_agents, document)
    assert answer == f"Done.\n\n[Stopped after its {why} was used up.]"
    assert json.loads(results(found)[0].content)["error"] == f"cancelled: the {why} is used up"


async def test_the_wait_for_an_approval_is_bounded_by_the_budget(agents: Mesh) -> None:
    answer, found = await steps(agents, asking([ADD, "Not added."], approve=["add"], budget={"seconds": 2}))
    assert answer == "Not added.\n\n[Stopped after its budget of 2 s was used up.]"
    assert "no decision within " in results(found)[0].content


async def test_the_same_call_over_and_over_is_stopped(embedded_agents: Mesh) -> None:
    answer, found = await steps(embedded_agents, asking([ADD], max_repeats=2, max_waves=50))
    assert [one.is_error for one in results(found)] == [False, False, True, True]
    assert answer == "[Stopped after the same calls again and again, the limit of max_repeats is 2.]"


async def test_invalid_arguments_are_repaired_in_one_more_wave(embedded_agents: Mesh) -> None:
    script = [{"tool_calls": [call("add", a="one")]}, ADD, "It is 3."]
    answer, found = await steps(embedded_agents, asking(script, max_waves=2))
    assert answer == "It is 3."
    wrong, right = results(found)
    assert "the arguments of add are invalid" in wrong.content
    assert right.content == "3"


async def test_a_model_without_tools_calls_them_by_json(agents: Mesh) -> None:
    script = [
        json.dumps({"thought": "Add.", "calls": [{"tool": "add", "arguments": {"a": 1, "b": 2}}], "answer": ""}),
        '{"thought": "cut off',
        json.dumps({"thought": "", "calls": [], "answer": "It is {{memory.wave-1.r1}}."}),
    ]
    answer, found = await steps(agents, asking(script, model={"tools": False}))
    assert answer == "It is 3."
    assert next(one.text for one in found if isinstance(one, ThoughtUpdate)) == "Add."
    assert [one.content for one in results(found)] == ["3"]


async def test_native_tool_calling_is_not_replaced(embedded_agents: Mesh) -> None:
    run = embedded_agents.run(asking(["Hi."], model={"tools": False}, tool_calling="native"), input="go")
    result = await run.result()
    assert result.error is not None
    assert "tools are not taken" in result.error.message


async def test_a_result_cannot_widen_what_the_agent_may_call(agents: Mesh) -> None:
    script = [{"tool_calls": [call("injected")]}, {"tool_calls": [call("delete_everything")]}, "{{memory.wave-1.r1}}"]
    answer, found = await steps(agents, asking(script))
    refused = results(found)[1]
    assert refused.is_error
    assert 'there is no tool "delete_everything"' in json.loads(refused.content)["error"]
    assert answer.endswith("{{memory.wave-1.r1}} {{memory.other}}")  # references in a result are not resolved


@pytest.mark.conformance("CTRL-05")
@pytest.mark.parametrize("kind", ["agent", "tool"])
async def test_a_sub_agent_is_a_tool_and_agents_nest(agents: Mesh, kind: str) -> None:
    document = asking(
        [{"text": "Ask.", "tool_calls": [call("worker", task="1 + 2?")]}, "{{memory.wave-1.r1}}"],
        helper("worker", "agent_wave", kind, "agent"),
        helper("clerk", "agent_wave", kind, "worker"),
        helper(
            "worker_model",
            "llm_scripted",
            "llm",
            "worker",
            script=[{"tool_calls": [call("clerk", task="add")]}, "Three."],
        ),
        helper("clerk_model", "llm_scripted", "llm", "clerk", script=[{"text": "Hm.", **ADD}, "3"]),
        helper("clerk_tools", "tool_python", "tool", "clerk", file=document_tools()),
    )
    answer, found = await steps(agents, document)
    assert answer == "Three."
    calls = [(one.component, one.call.name) for one in found if isinstance(one, ToolCallUpdate)]
    assert sorted(calls) == [("agent", "worker"), ("clerk", "add"), ("worker", "clerk")]
    assert sorted(one.component for one in found if isinstance(one, ThoughtUpdate)) == ["agent", "clerk"]
    assert sorted(one.component for one in found if isinstance(one, ToolResultUpdate)) == ["agent", "clerk", "worker"]
    (of_worker,), (of_clerk,) = results(found), results(found, "worker")
    assert of_worker.usage is not None
    assert of_clerk.usage is not None
    assert (of_worker.usage.tool_calls, of_clerk.usage.tool_calls) == (
        2,
        1,
    )  # the worker called the clerk, and the clerk add
    assert of_worker.usage.completion_tokens == of_clerk.usage.completion_tokens + 1


def document_tools() -> str:
    from .conftest import TOOLS

    return str(TOOLS)


@pytest.mark.conformance("CTRL-05", "CTRL-10")
async def test_cancelling_the_run_cancels_a_nested_call(agents: Mesh) -> None:
    document = asking(
        [{"tool_calls": [call("worker", task="wait")]}],
        helper("worker", "agent_wave", "agent", "agent"),
        helper("worker_model", "llm_scripted", "llm", "worker", script=[{"tool_calls": [call("hang")]}]),
        helper("worker_tools", "tool_python", "tool", "worker", file=document_tools()),
    )
    async with agents.run(document, input="go") as run, aclosing(run.updates()) as updates:
        async for update in updates:
            if isinstance(update, ToolCallUpdate) and update.call.name == "hang":
                await run.cancel("enough")
    assert run.state == "cancelled"


async def test_a_broken_model_fails_the_run_once(agents: Mesh) -> None:
    result = await agents.run(asking([{"text": "I shall", "fail": "the line broke"}]), input="go").result()
    assert result.state == "failed"
    assert result.error is not None
    assert "the line broke" in result.error.message


async def test_twenty_calls_at_once_are_bounded(embedded_agents: Mesh) -> None:
    twenty = [call("add", a=number, b=0) for number in range(20)]
    answer, found = await steps(embedded_agents, asking([{"tool_calls": twenty}, "Done."], max_calls=4))
    assert answer == "Done."
    assert sum(one.is_error for one in results(found)) == 16


KEEPS = '''
from lanemesh import Context, In, Invokes, Node, Out


class Recall(Node):
    """Reads what an agent has stored in the memory of the run."""

    invokes = (Invokes("memory"),)
    text: In[str]
    recalled: Out[str]

    async def process(self, context: Context) -> str:
        space = context.memory.space("run", namespace="agent")
        found = [(entry.key.partition("/")[2], entry.value) async for entry in space.list()]
        return f"{self.text} {found}"
'''


async def test_results_are_stored_in_a_connected_memory(tmp_path: Path) -> None:
    (tmp_path / "keeps.py").write_text(KEEPS)
    document = asking([ADD, "Done."], helper("memory", "memory_internal", "memory", "agent", "recall"))
    recall = {"id": "recall", "provider": "recall", "input": [{"lane": "text", "from": "agent"}]}
    last = {**document["components"].pop(), "input": [{"lane": "text", "from": "recall"}]}
    document["components"] += [recall, last]
    async with Mesh(nodes=tmp_path / "keeps.py") as mesh:
        answer, _ = await steps(mesh, document)
    assert answer == "Done. [('wave-1.r1', 3)]"


async def test_the_tools_of_a_question_are_refused(agents: Mesh) -> None:
    question = Question("go", tools=(ToolSpec("look"),))

    with pytest.raises(RunFailed, match="which calls the tools of its pipeline"):
        await agents.run(asking(["Done."]), input=question).text()


CRASHES = """
import os

from lanemesh import Context, In, Node, Out


class Crashes(Node):
    \"\"\"Ends its process.\"\"\"

    isolation = "process"
    text: In[str]
    found: Out[str]

    def process(self, context: Context) -> str:
        os._exit(3)
"""


async def test_an_isolated_tool_that_ends_its_process_is_a_failed_result(tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text(CRASHES)
    work = {
        "components": [
            {"id": "in", "provider": "chat"},
            {"id": "work", "provider": "crashes", "input": [{"lane": "text", "from": "in"}]},
            {"id": "out", "provider": "response_text", "input": [{"lane": "text", "from": "work"}]},
        ]
    }
    document = asking(
        [{"tool_calls": [call("crash", input="now")]}, ADD, "Done."],
        {
            **helper("crash", "tool_pipeline", "tool", "agent"),
            "config": {"name": "crash", "description": "Crashes.", "document": work},
        },
    )
    async with Mesh(nodes=tmp_path / "crashes.py") as mesh:
        answer, found = await steps(mesh, document)
    crashed, added = results(found)
    assert "ended with exit code 3" in json.loads(crashed.content)["error"]
    assert (crashed.is_error, added.content, answer) == (True, "3", "Done.")


LOOKS_UP = """
import asyncio
import os

from lanemesh import Context, In, Node, Out, Question, ToolCall


class LooksUp(Node):
    \"\"\"An agent that reports a call with the id of its process, and never ends.\"\"\"

    questions: In[Question]
    text: Out[str]

    async def process(self, context: Context) -> str:
        await context.report_tool(ToolCall("c1", "look_up", str(os.getpid())), wave=3)
        await asyncio.Event().wait()
"""


async def test_a_call_of_an_agent_whose_server_is_lost_has_a_result(tmp_path: Path) -> None:
    (tmp_path / "looks_up.py").write_text(LOOKS_UP)
    document = asking([])
    chat, out = document["components"][0], document["components"][-1]
    agent = {"id": "agent", "provider": "looks_up", "input": [{"lane": "questions", "from": "chat"}]}
    document = {"components": [chat, agent, out]}
    found = []
    async with Mesh("component", nodes=tmp_path / "looks_up.py") as mesh, mesh.run(document, input="go") as run:
        async for update in run.updates():
            if isinstance(update, ToolCallUpdate):
                os.kill(int(update.call.arguments), signal.SIGKILL)
            elif isinstance(update, ToolResultUpdate):
                found.append(update)
    assert [(one.call_id, one.name, one.wave, one.is_error) for one in found] == [("c1", "look_up", 3, True)]
    assert "agent ended before this call had a result" in found[0].content
