"""The base class of nodes that are tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from pydantic import SecretStr

from lanemesh.chat import ToolEvent
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.tools.errors import bad_function, unknown_tool
from lanemesh.tools.function import NO_SECRETS, ToolFunction
from lanemesh.tools.mark import options_of
from lanemesh.values import ToolCall, ToolSpec


class ToolNode(Node):
    """Base of nodes whose methods below `@tool` are tools. They have the resource of `load` as `self.resource`, and the settings as
    `self.config`. If the settings have a field `secrets`, an object of texts or of `SecretStr`, the context of a call has them.

    A subclass that has other tools than its methods overrides `tools`, and sets `fixed_tools = False` if they change during a run.
    """

    offers: ClassVar[Sequence[str]] = ("tool",)
    fixed_tools: ClassVar[bool] = True

    def tools(self) -> Mapping[str, ToolFunction]:
        """The tools by name. Raises LanemeshError ("bad-tool-function") if a method cannot be one."""
        cls = type(self)
        described: dict[str, tuple[str, ToolFunction]] | None = cls.__dict__.get("_described_tools")
        if described is None:
            described = _described(self)
            cls._described_tools = described  # type: ignore[attr-defined]
        return {name: function.bound(getattr(self, attribute)) for name, (attribute, function) in described.items()}

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The descriptions of the tools."""
        return [function.spec for function in self.tools().values()]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncGenerator[ToolEvent, None]:
        """Calls a tool. Raises LanemeshError ("unknown-tool") if there is none with that name."""
        tools = self.tools()
        function = tools.get(call.name)
        if function is None:
            raise unknown_tool(call.name, tools)
        secrets = _plain(getattr(getattr(self, "config", None), "secrets", NO_SECRETS))
        async with aclosing(function.events(context, call, secrets)) as events:
            async for event in events:
                yield event


def _described(node: Any) -> dict[str, tuple[str, ToolFunction]]:
    """The methods below `@tool` by the names of the tools, each with the name of the method."""
    cls = type(node)
    found: dict[str, tuple[str, ToolFunction]] = {}
    for attribute in dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)):
        if attribute.startswith("__") or options_of(getattr(cls, attribute, None)) is None:
            continue
        function = ToolFunction(getattr(node, attribute), cls.__qualname__, attribute)
        if function.name in found:
            why = f'the method {found[function.name][0]} is also the tool "{function.name}"'
            raise bad_function(cls.__qualname__, attribute, why, "Give one of them another name.")
        found[function.name] = (attribute, function)
    return found


def _plain(secrets: Mapping[str, Any]) -> Mapping[str, str]:
    """Secrets as texts."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in secrets.items()
    }
