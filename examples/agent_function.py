"""An agent for frameworks.pipe: a function with a model and tools. Any framework can do the work in its place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from lanemesh import Context, Message, Question


async def agent(question: Question, context: Context) -> AsyncIterator[str]:
    """Lets the model call tools until it answers."""
    tools = await context.tools.specs()
    messages = [Message("user", question.text)]
    while (reply := await context.llm.chat(messages, tools=tools)).tool_calls:
        messages.append(Message("assistant", reply.text, reply.tool_calls))
        for call in reply.tool_calls:
            result = await context.tools[call.name](**json.loads(call.arguments))
            messages.append(Message("tool", json.dumps(result), tool_call_id=call.id))
    yield reply.text
