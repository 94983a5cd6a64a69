"""The interfaces of helpers for a node: `context.llm` and `context.tools`, for every transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Protocol

from lanemesh.chat import ChatEvent, ChatReply, Sampling, ToolEvent, ToolSpec
from lanemesh.values import Message, ToolCall


class LlmClient(Protocol):
    """A model that is connected to a node: `context.llm`."""

    def stream(
        self,
        messages: str | Iterable[Message],
        *,
        tools: Iterable[ToolSpec] = (),
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """One turn of the model, event by event as it is generated. Leaving the iteration cancels it at the model.

        Args:
            messages: the conversation so far, oldest first; a text is one turn of the user.
            tools: the tools that the model may call.
            schema: the JSON schema of the answer.
            sampling: how to choose tokens; None: as in the model's config.

        Raises:
            LanemeshError: with the model's own fault, or with that of the connection.
        """

    async def chat(
        self,
        messages: str | Iterable[Message],
        *,
        tools: Iterable[ToolSpec] = (),
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> ChatReply:
        """One whole turn of the model. Arguments and errors are those of `stream`."""


class NamedTool(Protocol):
    """One tool: `context.tools["weather"]`."""

    async def __call__(self, **arguments: Any) -> Any:
        """Calls the tool and returns its result, a JSON value.

        Raises:
            LanemeshError: with the tool's own fault, or with that of the connection; "unknown-tool", "tool-failed" if the
                tool answered with an error.
            TypeError: the arguments are no JSON.
            ValueError: the result is not valid JSON, or exceeds its limits.
        """


class ToolClient(Protocol):
    """The tools that are connected to a node: `context.tools`. Each tool's name belongs to one helper: tools of several helpers
    with the same name are called "<component of the helper>_<name>"."""

    def __getitem__(self, name: str) -> NamedTool:
        """A tool to be called with its arguments: `await context.tools["weather"](city="Oslo")`."""

    async def specs(self) -> tuple[ToolSpec, ...]:
        """The tools of all helpers, for use by a model.

        Raises:
            LanemeshError: a helper cannot be asked, a helper has two tools of one name ("duplicate-tool"), or the parameters of a
                tool are no JSON schema ("bad-tool").
        """

    def stream(self, call: ToolCall, timeout: float | None = None) -> AsyncGenerator[ToolEvent, None]:
        """Calls a tool for a model: any `ToolProgress`, then one `ToolResult`. Leaving the iteration cancels the call.

        Args:
            call: the tool's name and its arguments, as JSON text; empty: none.
            timeout: most seconds for the call; None: the limit of the connection.

        Raises:
            LanemeshError: with the helper's own fault, or with that of the connection; "unknown-tool" if no helper has it;
                "no-result" if the helper ended without one.
        """
