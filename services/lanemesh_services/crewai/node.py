"""An agent that is a crew of CrewAI."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from importlib import import_module
from typing import Annotated, Any, ClassVar

from lanemesh import Answer, Context, In, Invokes, Node, Out, Pieces, Question
from lanemesh.extend import in_thread

from lanemesh_services.crewai.crew_config import CrewConfig
from lanemesh_services.guests.answering import Answering
from lanemesh_services.guests.errors import framework_missing, refuse_images, refuse_tools
from lanemesh_services.guests.reported import GuestReport

Pair = tuple[str, Any]

_QUIET = {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "OTEL_SDK_DISABLED": "true"}
"""The environment in which CrewAI sends nothing to its makers."""


class AgentCrewai(Node):
    """An agent that is a crew of CrewAI: several agents with roles, and tasks that they do one after the other.

    The models and tools are those of the pipeline. Thoughts, calls and results are reported as they happen. The result of the last
    task is the answer.
    """

    python_packages = ("crewai",)
    invokes: ClassVar = (Invokes("llm", 1, None), Invokes("tool", 0, None))

    class Config(CrewConfig):
        """Settings of a crew. The result of the last task is the answer."""

    questions: Annotated[In[Question], "What is asked."]
    answers: Annotated[Out[Answer], "The answer, then a piece with finish reason and usage."]
    text: Annotated[Out[Pieces[str]], "Only the text of the answer."]

    @classmethod
    async def load(cls, config: CrewConfig) -> None:
        """Imports CrewAI, in a worker thread."""
        await in_thread(_import_crewai)

    async def gen_process(self, context: Context) -> AsyncGenerator[Pair, None]:
        """Answers one question."""
        from lanemesh_services.crewai.crew import kickoff

        refuse_images(self.questions, context.component)
        refuse_tools(self.questions, context.component)
        report = GuestReport(context, self.config.tool_timeout)
        answer = Answering(self.questions.schema)
        for pair in answer.add(await kickoff(self.config, self.questions, report.reported_context())):
            yield pair
        last, problem = answer.last(report.usage)
        if problem:
            context.log.warning("the answer has only text and no data: %s", problem)
        yield "answers", last


def _import_crewai() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import_module("crewai")
    except ImportError as error:
        raise framework_missing("crewai", "lanemesh env create crewai", str(error)) from error
