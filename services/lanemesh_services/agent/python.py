"""An agent that is a user's own function or class."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, ClassVar

from lanemesh import Answer, Context, In, Invokes, Node, Out, Pieces, Question
from lanemesh.extend import call_function, in_thread
from pydantic import Field

from lanemesh_services.guests.answering import Answering
from lanemesh_services.guests.code import CodeConfig, GuestCode, load_code
from lanemesh_services.guests.errors import bad_answer
from lanemesh_services.guests.reported import GuestReport

Pair = tuple[str, Any]


class AgentPython(Node):
    """An agent that is an async function or a class of a Python file.

    The function gets the question and the context, with its models in `context.llm` and its tools in `context.tools`. It returns
    the answer, or yields it in pieces. Its calls of models and tools are reported as they happen. Any framework fits in.
    """

    invokes: ClassVar = (Invokes("llm", 0, None), Invokes("tool", 0, None))

    class Config(CodeConfig):
        """Settings of an agent. Either `file` or `module` is set."""

        tool_timeout: float = Field(60.0, gt=0, le=3600, description="Time limit of one tool call, in seconds.")

    questions: Annotated[In[Question], "What is asked."]
    answers: Annotated[Out[Answer], "The pieces of the answer; the last one has finish reason and usage."]
    text: Annotated[Out[Pieces[str]], "Only the text of the answer, in pieces."]

    @classmethod
    async def load(cls, config: Any) -> GuestCode:
        """Loads the code in a worker thread, because it may import anything. It is loaded again for the next run if the file, or an
        import from its folder, has changed."""
        return await in_thread(load_code, config)

    @classmethod
    async def unload(cls, resource: GuestCode) -> None:
        """Removes the modules of the file."""
        resource.close()

    async def gen_process(self, context: Context) -> AsyncGenerator[Pair, None]:
        """Answers one question."""
        code: GuestCode = self.resource
        report = GuestReport(context, self.config.tool_timeout)
        answer = Answering(self.questions.schema)
        async with aclosing(call_function(code.call, self.questions, report.reported_context())) as values:
            async for value in values:
                try:
                    pairs = answer.add(value)
                except TypeError as error:
                    raise bad_answer(code.where, str(error)) from None
                for pair in pairs:
                    yield pair
        last, problem = answer.last(report.usage)
        if problem:
            context.log.warning("the answer has only text and no data: %s", problem)
        yield "answers", last
