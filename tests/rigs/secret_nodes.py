"""Node types that tell their secrets in every way there is; node servers load this file as well."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from lanemesh import Context, In, Inputs, Invokes, LanemeshError, Node, Out, Outputs
from lanemesh.chat import ToolResult
from lanemesh.faults import Code, Fault
from lanemesh.values import ToolCall, ToolSpec
from pydantic import BaseModel, SecretStr, field_validator


class _Telling(BaseModel):
    mode: str
    api_key: SecretStr
    header: str = ""

    @property
    def told(self) -> str:
        return f"key {self.api_key.get_secret_value()!r}, header {self.header}"


class Leaky(Node):
    """Tells its secrets, by the way of its config."""

    class Config(_Telling):
        @field_validator("api_key")
        @classmethod
        def _check(cls, key: SecretStr, info: Any) -> SecretStr:
            if info.data["mode"] == "config":
                raise ValueError(f"no such key: {key.get_secret_value()}")
            return key

    text: In[str]
    said: Out[str]

    @classmethod
    async def load(cls, config: Any) -> str:
        if config.mode == "load":
            raise ConnectionError(f"refused {config.told}")
        return config.told if config.mode == "unload" else ""

    @classmethod
    async def unload(cls, resource: str) -> None:
        if resource:
            raise ConnectionError(f"refused {resource}")

    def process(self, context: Context) -> dict[str, Any]:
        told = self.config.told
        match self.config.mode:
            case "raise":
                raise ConnectionError(f"refused {told}")
            case "chain":
                try:
                    raise KeyError(self.config.api_key.get_secret_value())
                except KeyError as error:
                    raise RuntimeError("no luck") from error
            case "fault":
                fault = Fault(code=Code.INTERNAL, reason="told", message=told, details={"asked": told})
                raise LanemeshError(fault)
            case "log":
                context.log.error("refused %s", told)
                context.log.warning("as a mapping: %(told)s", {"told": told})
                context.log.debug("long %s %s", "x" * 8_170, told)
                logging.getLogger("some.library").error("GET /?%s", told)
                try:
                    raise ConnectionError(told)
                except ConnectionError:
                    context.log.exception("and the traceback")
            case "progress":
                context.progress(1, 2, told)
                context.progress(2, 2, "x" * 990 + told)
        return {"said": "done"}

    async def finalize(self, context: Context) -> None:
        if self.config.mode == "finalize":
            raise ConnectionError(f"refused {self.config.told}")


class Hears(Node):
    """Logs how its lane has ended."""

    text: In[str]
    said: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        try:
            async for _ in inputs.stream("text"):
                pass
        except LanemeshError as error:
            context.log.error("heard %s %s", error, error.fault.traceback)


class LeakyTool(Node):
    """A tool that fails by telling its secrets."""

    class Config(_Telling):
        pass

    offers: ClassVar = ("tool",)

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        if self.config.mode == "list":
            raise ConnectionError(f"refused {self.config.told}")
        return [ToolSpec("ask", "Asks.", {"type": "object"})]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncIterator[ToolResult]:
        context.log.warning("called with %s", self.config.told)
        raise ConnectionError(f"refused {self.config.told}")
        yield ToolResult("")

    async def finalize(self, context: Context) -> None:
        if self.config.mode == "finalize":
            raise ConnectionError(f"refused {self.config.told}")


class Asking(Node):
    """Asks its tool, and reports what came of it; another component's secret is as secret as its own."""

    invokes: ClassVar = (Invokes("tool", 1, 1),)

    class Config(BaseModel):
        gossip: str = ""

    text: In[str]
    said: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        try:
            await context.tools["ask"]()
        except LanemeshError as error:
            content = f"{error} {error.fault.traceback}"
            context.log.error("no answer: %s", content)
        await context.report_tool(ToolResult(content, call_id="1", name="ask", is_error=True))
        await context.report_tool(ToolCall("2", "ask", content))
        await context.report_tool(self.config.gossip)
        raise RuntimeError(f"{content} {self.config.gossip}")
