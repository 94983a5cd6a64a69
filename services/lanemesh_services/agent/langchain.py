"""An agent that runs in LangChain: its `create_agent`, or a graph of LangGraph that a user's file builds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from importlib import import_module
from typing import Annotated, Any, ClassVar

from lanemesh import Answer, Context, In, Invokes, Node, Out, Pieces, Question
from lanemesh.extend import call_function, copy_json, in_thread, rendered
from pydantic import Field

from lanemesh_services.guests.answering import Answering
from lanemesh_services.guests.code import CodeConfig, GuestCode, load_code
from lanemesh_services.guests.errors import bad_agent_file, framework_missing, refuse_images, refuse_tools
from lanemesh_services.guests.reported import GuestReport
from lanemesh_services.shared.instructions import Instructions

Pair = tuple[str, Any]

STEPS_PER_WAVE = 2
"""Steps of LangGraph for one wave: the model, then its tools."""


class AgentLangchain(Node):
    """An agent that answers questions with LangChain's `create_agent`, or with a graph of LangGraph.

    The model and the tools are those of the pipeline. With `file` or `module`, a function `build(model, tools)` returns the graph,
    whose state has `messages`. Thoughts, calls and results are reported as they happen; the answer streams.
    """

    pip_extra = "langchain"
    python_packages = ("langchain", "langgraph")
    invokes: ClassVar = (Invokes("llm", 1, 1), Invokes("tool", 0, None))

    class Config(CodeConfig):
        """Settings of an agent. Without `file` and `module` it is made by `create_agent`."""

        instructions: Instructions = Field(
            "", description="Instructions for the agent; they precede those of the question."
        )
        max_waves: int = Field(8, ge=1, le=100, description="Maximum number of turns of the model.")
        tool_timeout: float = Field(60.0, gt=0, le=3600, description="Time limit of one tool call, in seconds.")
        holdback: int = Field(
            80,
            ge=1,
            le=100_000,
            description="Characters of a turn that are held back in case they are a thought; more text is the answer.",
        )

    questions: Annotated[In[Question], "What is asked."]
    answers: Annotated[Out[Answer], "The pieces of the answer; the last one has finish reason and usage."]
    text: Annotated[Out[Pieces[str]], "Only the text of the answer, in pieces as they are generated."]

    @classmethod
    async def load(cls, config: Any) -> GuestCode | None:
        """Imports LangChain and the code of a graph, in a worker thread."""
        return await in_thread(_load, config)

    @classmethod
    async def unload(cls, resource: GuestCode | None) -> None:
        """Removes the modules of the file."""
        if resource is not None:
            resource.close()

    async def gen_process(self, context: Context) -> AsyncGenerator[Pair, None]:
        """Answers one question."""
        from lanemesh_services.agent.langchain_bridge import MeshChatModel, from_question, mesh_tools
        from lanemesh_services.agent.langchain_stream import answer_of

        refuse_images(self.questions, context.component)
        refuse_tools(self.questions, context.component)
        report = GuestReport(context, self.config.tool_timeout)
        reported = report.reported_context()
        specs = await reported.tools.specs()
        model, tools = MeshChatModel(llm=reported.llm), mesh_tools(reported.tools, specs)
        graph = await self._graph(model, tools)
        messages = from_question(self._asked())
        answer = Answering(self.questions.schema)
        holdback = self.config.holdback if specs or self.questions.schema is not None else 0
        pieces = answer_of(graph, messages, max_steps=STEPS_PER_WAVE * self.config.max_waves, holdback=holdback)
        async with aclosing(pieces) as values:
            async for value in values:
                for pair in answer.add(value):
                    yield pair
        last, problem = answer.last(report.usage)
        if problem:
            context.log.warning("the answer has only text and no data: %s", problem)
        yield "answers", last

    def _asked(self) -> Question:
        """The question, with the instructions of the config for a graph of a file; `create_agent` gets them by itself."""
        question: Question = self.questions
        if self.resource is None:
            return question
        both = "\n\n".join(part for part in (self.config.instructions, question.instructions) if part)
        return replace(question, instructions=both)

    async def _graph(self, model: Any, tools: list[Any]) -> Any:
        code: GuestCode | None = self.resource
        if code is None:
            from langchain.agents import create_agent

            schema = self.questions.schema
            form = None if schema is None else {"title": "answer", **copy_json(schema)}
            return create_agent(model, tools, system_prompt=self.config.instructions or None, response_format=form)
        async with aclosing(call_function(code.call, model, tools)) as made:
            graph = await anext(made)
        if not hasattr(graph, "astream"):
            hint = "Return a compiled graph: `return builder.compile()`."
            raise bad_agent_file(code.where, f"it returned {rendered(graph)}, which has no `astream`", hint)
        return graph


def _load(config: Any) -> GuestCode | None:
    try:
        import_module("langchain.agents")
    except ImportError as error:
        raise framework_missing("langchain", 'pip install "lanemesh[langchain]"', str(error)) from error
    return load_code(config) if config.file or config.module else None
