"""Control connections in LangChain's terms: a model as a chat model, tools as structured tools, a question as messages."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from lanemesh import (
    ChatFinish,
    ChatText,
    LlmClient,
    Message,
    Question,
    Sampling,
    ToolCall,
    ToolClient,
    ToolSpec,
    Usage,
)
from lanemesh.extend import copy_json
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_chunk_to_message,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict

from lanemesh_services.guests.reported import called_for_model
from lanemesh_services.llm.messages import to_request


class MeshChatModel(BaseChatModel):
    """A model that is reached by a control connection, as a chat model. It is asynchronous only."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    llm: Any
    """The client of the model: an `LlmClient`."""

    @property
    def _llm_type(self) -> str:
        return "lanemesh"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        raise NotImplementedError("the model of a mesh is asynchronous: use ainvoke or astream")

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        whole: AIMessageChunk | None = None
        async for chunk in self._astream(messages, stop, run_manager, **kwargs):
            message = chunk.message
            assert isinstance(message, AIMessageChunk)
            whole = message if whole is None else whole + message
        return ChatResult(
            generations=[ChatGeneration(message=message_chunk_to_message(whole or AIMessageChunk(content="")))]
        )

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        llm: LlmClient = self.llm
        sampling = Sampling(
            stop=tuple(stop or ()), **{key: kwargs[key] for key in ("temperature", "max_tokens") if key in kwargs}
        )
        tools = [ToolSpec(**tool) for tool in kwargs.get("mesh_tools", ())]
        turn = llm.stream(to_messages(messages), tools=tools, schema=kwargs.get("mesh_schema"), sampling=sampling)
        calls = 0
        async with aclosing(turn) as events:
            async for event in events:
                match event:
                    case ChatText():
                        message = AIMessageChunk(content=event.text)
                    case ToolCall():
                        part = tool_call_chunk(
                            name=event.name, args=event.arguments or "{}", id=event.id or _call_id(), index=calls
                        )
                        message, calls = AIMessageChunk(content="", tool_call_chunks=[part]), calls + 1
                    case Usage():
                        message = AIMessageChunk(content="", usage_metadata=_usage(event))
                    case ChatFinish():
                        message = AIMessageChunk(
                            content="", response_metadata={"finish_reason": event.reason}, chunk_position="last"
                        )
                chunk = ChatGenerationChunk(message=message)
                if run_manager is not None and isinstance(event, ChatText):
                    await run_manager.on_llm_new_token(event.text, chunk=chunk)
                yield chunk

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """The model with tools that it may call, in any of LangChain's forms. `tool_choice` is ignored: models of a mesh choose."""
        specs = [_spec(convert_to_openai_tool(tool)["function"]) for tool in tools]
        return self.bind(mesh_tools=specs)

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Runnable[Any, Any]:
        """The model whose answers follow a JSON schema: JSON values, or instances of a pydantic model."""
        from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser

        if include_raw:
            raise NotImplementedError("include_raw is not supported by the models of a mesh")
        if isinstance(schema, dict):
            return self._following(schema, JsonOutputParser())
        return self._following(schema.model_json_schema(), PydanticOutputParser(pydantic_object=schema))

    def _following(self, schema: dict[str, Any], parser: Any) -> Runnable[Any, Any]:
        parsed: Runnable[Any, Any] = self.bind(mesh_schema=schema) | parser
        return parsed


def mesh_tools(tools: ToolClient, specs: Iterable[ToolSpec]) -> list[BaseTool]:
    """Tools that are reached by control connections. A failed call returns its error to the model."""
    return [_tool(tools, spec) for spec in specs]


def _tool(tools: ToolClient, spec: ToolSpec) -> BaseTool:
    async def call(**arguments: Any) -> str:
        made = ToolCall(_call_id(), spec.name, json.dumps(arguments, ensure_ascii=False, default=str))
        return (await called_for_model(tools, made)).content

    schema = {"type": "object", "properties": {}, **copy_json(spec.parameters)}
    return StructuredTool(name=spec.name, description=spec.description or spec.name, args_schema=schema, coroutine=call)


def to_messages(messages: Iterable[BaseMessage]) -> list[Message]:
    """LangChain's messages as those of a model."""
    return [_message(message) for message in messages]


def _message(message: BaseMessage) -> Message:
    text = message.text if isinstance(message.text, str) else str(message.content)
    match message:
        case AIMessage():
            calls = [
                ToolCall(call["id"] or "", call["name"], json.dumps(call["args"], ensure_ascii=False))
                for call in message.tool_calls
            ]
            return Message("assistant", text, tuple(calls))
        case ToolMessage():
            return Message("tool", text, tool_call_id=message.tool_call_id)
        case SystemMessage():
            return Message("system", text)
    return Message("user", text)


def from_question(question: Question) -> list[BaseMessage]:
    """The conversation of a question in LangChain's messages."""
    return [_from_message(message) for message in to_request(question).messages]


def _from_message(message: Message) -> BaseMessage:
    match message.role:
        case "system":
            return SystemMessage(message.content)
        case "assistant":
            calls = [
                {"id": call.id, "name": call.name, "args": _arguments(call.arguments)} for call in message.tool_calls
            ]
            return AIMessage(message.content, tool_calls=calls)
        case "tool":
            return ToolMessage(message.content, tool_call_id=message.tool_call_id)
    return HumanMessage(message.content)


def _arguments(text: str) -> dict[str, Any]:
    """The arguments of an earlier call; none if they are not a JSON object."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _spec(function: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": function["name"],
        "description": function.get("description", ""),
        "parameters": function.get("parameters", {}),
    }


def _usage(usage: Usage) -> Any:
    read, written = usage.prompt_tokens, usage.completion_tokens
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def _call_id() -> str:
    return f"call_{secrets.token_hex(8)}"
