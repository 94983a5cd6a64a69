"""Runs a crew. CrewAI works in a thread; its models and tools are called on the event loop."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from crewai import Agent, BaseLLM, Crew, Process, Task
from crewai.tools import BaseTool
from crewai.utilities.pydantic_schema_utils import create_model_from_schema
from lanemesh import Context, LlmClient, Message, Question, ToolCall, ToolSpec
from lanemesh.extend import copy_json, in_thread
from pydantic import PrivateAttr

from lanemesh_services.crewai.crew_config import CrewAgent, CrewConfig
from lanemesh_services.guests.reported import called_for_model
from lanemesh_services.llm.messages import to_request

T = TypeVar("T")


class Stopped(BaseException):
    """The run does not wait for the crew any more. It passes the handlers of errors in CrewAI."""


class LoopCalls:
    """Calls of coroutines from the thread of a crew."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._running: set[Future[Any]] = set()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the event loop, and returns its result. Raises Stopped after `stop`."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._running.add(future)
        if self._stopped:
            future.cancel()
        try:
            return future.result()
        except BaseException:
            if self._stopped:
                raise Stopped from None
            raise
        finally:
            self._running.discard(future)

    def stop(self) -> None:
        """Cancels what runs, and every later call."""
        self._stopped = True
        for future in list(self._running):
            future.cancel()


async def kickoff(config: CrewConfig, question: Question, context: Context) -> str:
    """Runs the crew of a config on a question. Returns the result of its last task.

    Raises:
        LanemeshError: with the fault of a model or of a connection.
    """
    specs = await context.tools.specs()
    calls = LoopCalls()
    crew = _crew(config, question, context, specs, calls)
    try:
        result = await in_thread(crew.kickoff, {"question": _text_of(question)})
    finally:
        calls.stop()
    return str(result.raw)


def _text_of(question: Question) -> str:
    """The conversation of a question as one text: crews take no messages."""
    messages = to_request(question).messages
    if len(messages) == 1:
        return question.text
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


def _crew(
    config: CrewConfig, question: Question, context: Context, specs: tuple[ToolSpec, ...], calls: LoopCalls
) -> Crew:
    tools = {spec.name: _tool(context, spec, calls) for spec in specs}
    agents = {agent.role: _agent(agent, context, tools, calls) for agent in config.instructed_agents()}
    tasks: list[Task] = []
    for task in config.tasks:
        tasks.append(
            Task(
                description=task.description,
                expected_output=task.expected_output,
                agent=agents[task.agent] if task.agent else next(iter(agents.values())),
                context=[tasks[number] for number in task.context] or None,
            )
        )
    manager = MeshLlm(_model(context, ""), calls) if config.process == "hierarchical" else None
    return Crew(
        agents=list(agents.values()), tasks=tasks, process=Process(config.process), manager_llm=manager, verbose=False
    )


def _agent(agent: CrewAgent, context: Context, tools: dict[str, BaseTool], calls: LoopCalls) -> Agent:
    chosen = list(tools.values()) if agent.tools is None else [tools[name] for name in agent.tools if name in tools]
    if missing := set(agent.tools or ()) - tools.keys():
        context.log.warning('the agent "%s" has no tool %s', agent.role, ", ".join(sorted(missing)))
    return Agent(
        role=agent.role,
        goal=agent.goal,
        backstory=agent.backstory,
        llm=MeshLlm(_model(context, agent.llm), calls),
        tools=chosen,
        max_iter=agent.max_turns,
        verbose=False,
    )


def _model(context: Context, name: str) -> LlmClient:
    return context.llms[name] if name else context.llm


class MeshLlm(BaseLLM):
    """A model that is reached by a control connection, as a model of CrewAI."""

    _client: Any = PrivateAttr()
    _calls: Any = PrivateAttr()

    def __init__(self, client: LlmClient, calls: LoopCalls) -> None:
        super().__init__(model="lanemesh/control")
        self._client = client
        self._calls = calls

    def call(
        self,
        messages: Any,
        tools: Any = None,
        callbacks: Any = None,
        available_functions: Any = None,
        from_task: Any = None,
        from_agent: Any = None,
        response_model: Any = None,
    ) -> Any:
        """One turn: its text, an instance of `response_model`, or the calls that the model wants made, in OpenAI's form."""
        turns = [Message("user", messages)] if isinstance(messages, str) else [_message(one) for one in messages]
        specs = [_spec(tool["function"]) for tool in tools or ()]
        schema = response_model.model_json_schema() if response_model is not None else None
        reply = self._calls.call(self._client.chat(turns, tools=specs, schema=schema))
        if reply.tool_calls and specs:  # a model may call tools that it was not given
            return [
                {
                    "id": call.id or _call_id(),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in reply.tool_calls
            ]
        return reply.text if response_model is None else response_model.model_validate_json(reply.text)

    def get_input_tokens_count(self, messages: Any, tools: Any = None, response_model: Any = None) -> int:
        """An estimate: one token per four characters, as CrewAI's own, which logs a warning for each call."""
        return len(json.dumps(messages, default=str)) // 4 + 1

    def supports_function_calling(self) -> bool:
        """Models of a mesh take tools."""
        return True


def _message(message: dict[str, Any]) -> Message:
    content = message.get("content") or ""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    calls = [
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    ]
    return Message(message["role"], text, tuple(calls), message.get("tool_call_id") or "")


def _spec(function: dict[str, Any]) -> ToolSpec:
    return ToolSpec(function["name"], function.get("description", ""), copy_json(function.get("parameters", {})))


class MeshTool(BaseTool):
    """A tool that is reached by a control connection, as a tool of CrewAI. A failed call returns its error to the model."""

    _context: Any = PrivateAttr()
    _calls: Any = PrivateAttr()
    _tool_name: str = PrivateAttr()

    def _run(self, **arguments: Any) -> str:
        call = ToolCall(_call_id(), self._tool_name, json.dumps(arguments, ensure_ascii=False, default=str))
        result = self._calls.call(called_for_model(self._context.tools, call))
        return str(result.content)


def _tool(context: Context, spec: ToolSpec, calls: LoopCalls) -> BaseTool:
    schema = {"type": "object", "properties": {}, "title": spec.name, **copy_json(spec.parameters)}
    tool = MeshTool(
        name=spec.name, description=spec.description or spec.name, args_schema=create_model_from_schema(schema)
    )
    tool._context, tool._calls, tool._tool_name = context, calls, spec.name
    return tool


def _call_id() -> str:
    return f"call_{secrets.token_hex(8)}"
