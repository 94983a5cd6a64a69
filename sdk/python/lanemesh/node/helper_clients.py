"""The interfaces of helpers for a node, such as `context.llm` and `context.tools`, for every transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from lanemesh.agents import AgentEvent, AgentReply
from lanemesh.chat import ChatEvent, ChatReply, Sampling, ToolEvent
from lanemesh.memory import MemoryEntry
from lanemesh.values import Message, ToolCall, ToolSpec


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
        """A tool to be called with its arguments: `tool = context.tools["weather"]`, then `await tool(city="Oslo")`."""

    async def specs(self) -> tuple[ToolSpec, ...]:
        """The tools of all helpers, for use by a model.

        Raises:
            LanemeshError: a helper cannot be asked, a helper has two tools of one name ("duplicate-tool"), or the parameters of a
                tool are no JSON schema ("bad-tool").
        """

    @property
    def fixed(self) -> bool:
        """The tools do not change during the run, by the last `specs`."""

    def helper_of(self, name: str) -> str:
        """The component of the helper that has a tool, by the last `specs`; empty if there is none, or it is not known."""

    def stream(self, call: ToolCall, timeout: float | None = None) -> AsyncGenerator[ToolEvent, None]:
        """Calls a tool for a model: any `ToolProgress`, then one `ToolResult`. Leaving the iteration cancels the call.

        Args:
            call: the tool's name and its arguments, as JSON text; empty: none.
            timeout: most seconds for the call; None: the limit of the connection.

        Raises:
            LanemeshError: with the helper's own fault, or with that of the connection; "unknown-tool" if no helper has it;
                "no-result" if the helper ended without one.
        """


class MemoryClient(Protocol):
    """A memory that is connected to a node: `context.memory`. Its entries are those of one space, by default of the run."""

    def space(self, scope: str = "run", *, namespace: str = "") -> MemoryClient:
        """The same memory with another space.

        Args:
            scope: "run" (the entries of this run), "session" (those of all runs of its session) or "store" (permanent ones).
            namespace: separates spaces of one scope, such as "facts"; at most 128 printable characters.

        Raises:
            ValueError: there is no such scope, or the namespace is not allowed.
        """

    async def put(
        self, key: str, value: Any, *, text: str = "", ttl: float | None = None, embedding: Sequence[float] = ()
    ) -> bool:
        """Stores a value. Returns whether it replaced one.

        Args:
            key: 1 to 512 characters, none of them a control character.
            value: a JSON value; at most 1 MiB as text.
            text: the text that searches match, at most 1 MiB; empty: the value itself.
            ttl: seconds until the entry expires, greater than 0; None: it expires with its scope.
            embedding: the embedding of the text, if there is one; at most 16,384 numbers.

        Raises:
            TypeError: the value is not JSON.
            ValueError: an argument is outside its bounds.
            LanemeshError: with the memory's own fault, such as "memory-full", or with that of the connection; "no-session" for the
                scope session of a run without one.
        """

    async def get(self, key: str) -> MemoryEntry | None:
        """The entry with a key; None if there is none. Errors are those of `put`."""

    def list(self, prefix: str = "", *, limit: int = 1000) -> AsyncGenerator[MemoryEntry, None]:
        """The entries whose keys begin with a prefix, in the order of their keys. Errors are those of `put`. `limit`: most entries,
        from 1 to 10,000."""

    def search(
        self, query: str = "", *, limit: int = 10, min_score: float = 0.0, embedding: Sequence[float] = ()
    ) -> AsyncGenerator[MemoryEntry, None]:
        """The entries that match a query, the best one first, each with its score from 0 to 1. Errors are those of `put`.

        Args:
            query: words; at most 10,000 characters.
            limit: most entries, from 1 to 1,000.
            min_score: least score, from 0 to 1.
            embedding: the embedding of the query. Entries with an embedding of its length are ranked by it.
        """

    async def clear(self, prefix: str = "") -> int:
        """Removes the entries whose keys begin with a prefix; all without one. Returns their number. Errors are those of `put`."""


class AgentClient(Protocol):
    """An agent that is connected to a node: `context.agents["researcher"]`."""

    @property
    def component(self) -> str:
        """Its component; empty if it is not known."""

    def stream(
        self,
        task: str | Iterable[Message],
        *,
        instructions: str = "",
        schema: Mapping[str, Any] | None = None,
        max_waves: int = 0,
        timeout: float | None = None,
    ) -> AsyncGenerator[AgentEvent, None]:
        """The events of one task, as they happen; the last one is an `Answer` with a finish reason. Leaving the iteration cancels
        the agent.

        Args:
            task: the conversation so far, oldest first, which ends with the task; a text is one turn of the user.
            instructions: instructions beyond the agent's own.
            schema: the JSON schema that the answer must follow; None: any text.
            max_waves: most rounds of its loop; 0: as in its config.
            timeout: most seconds for the task; None: the limit of the connection.

        Raises:
            LanemeshError: with the agent's own fault, or with that of the connection; "no-result" if it ended without an answer.
            ValueError: there is no message, or `max_waves` is negative.
        """

    async def run(
        self,
        task: str | Iterable[Message],
        *,
        instructions: str = "",
        schema: Mapping[str, Any] | None = None,
        max_waves: int = 0,
        timeout: float | None = None,
    ) -> AgentReply:
        """The whole answer to one task. Arguments and errors are those of `stream`."""
