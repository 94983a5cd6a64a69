"""The tools of a server elsewhere, which implements `ToolService` in any language."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar

from lanemesh import Context, Node, ToolCall, ToolProgress, ToolResult, ToolSpec
from lanemesh.extend import RemoteTools, in_thread, not_permitted
from pydantic import BaseModel, Field, SecretStr

from lanemesh_services.tools.errors import bad_setting

MAX_TOOLS = 500
"""Most tools of a server."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolGrpc(Node):
    """Offers the tools of a gRPC server that implements `lanemesh.v1.ToolService`, in any language.

    The operator of the node server has to permit its address: `lanemesh node --allow host:NAME:PORT`. Local runs permit every one.
    """

    offers: ClassVar = ("tool",)

    class Config(BaseModel):
        """Settings of the connection."""

        address: str = Field(
            description='Address of the server, as "host:port".', json_schema_extra={"format": "remote-address"}
        )
        tls: bool = Field(False, description="The connection is encrypted, and the server verified.")
        ca: str = Field(
            "",
            description="Path of the certificates that verify the server, in PEM form; default: those of the system.",
            json_schema_extra={"format": "path"},
        )
        server_name: str = Field("", description="Name in the server's certificate; default: the host of the address.")
        token: SecretStr = Field(
            SecretStr(""),
            description='Token that is sent as "authorization: Bearer TOKEN", such as "${TOOL_TOKEN}"; it requires TLS unless the '
            "server is on this machine.",
        )
        component: str = Field("", description="Component that has the tools, where a server has several.")
        tools: list[str] = Field(default=[], description="Names of the tools to offer; default: all.")
        timeout: float = Field(600, gt=0, le=86_400, description="Time limit of a call, in seconds.")

    @classmethod
    async def load(cls, config: Any) -> RemoteTools:
        """Makes the connection. Raises LanemeshError if the settings are invalid."""
        ca = None
        if config.ca:
            try:
                ca = await in_thread(_content, config.ca)
            except (OSError, RuntimeError, ValueError) as error:
                hint = "Give the path of a file of certificates."
                raise bad_setting(cls.provider, "ca", f"names a file that cannot be read: {error}", hint) from None
        return RemoteTools(
            config.address,
            tls=config.tls,
            ca=ca,
            server_name=config.server_name,
            token=config.token.get_secret_value(),
            component=config.component,
            timeout=config.timeout,
            invoker=cls.provider,
        )

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Closes the connection."""
        await resource.close()

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The tools of the server."""
        self._check(context)
        found: list[ToolSpec] = await self.resource.list(depth=context.depth + 1)
        if len(found) > MAX_TOOLS and not self.config.tools:
            why = f"has {len(found):,} tools; the limit is {MAX_TOOLS}"
            raise bad_setting(context.component, "address", why, "Name the tools to offer in config.tools.")
        offered = [spec for spec in found if self._is_offered(spec.name)]
        missing = set(self.config.tools) - {spec.name for spec in offered}
        if missing:
            why = f"names {', '.join(sorted(missing))}, which the server does not have"
            raise bad_setting(context.component, "tools", why, "Correct the names.")
        return offered

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolResult, None]:
        """Calls a tool at the server."""
        self._check(context)
        if not self._is_offered(call.name):
            why = f'does not name "{call.name:.80}"'
            raise bad_setting(context.component, "tools", why, "Call one of the tools that it names.")
        async with aclosing(self.resource.call(call, depth=context.depth + 1)) as events:
            async for event in events:
                yield event

    def _is_offered(self, name: str) -> bool:
        """Whether the settings name the tool, and models accept its name."""
        return bool(_NAME.fullmatch(name)) and (not self.config.tools or name in self.config.tools)

    def _check(self, context: Context) -> None:
        host, _, port = self.config.address.rpartition(":")
        if not context.permissions.allows_host(host, int(port)):
            raise not_permitted(context.component, f"connect to {self.config.address}", f"host:{self.config.address}")


def _content(path: str) -> bytes:
    return Path(path).expanduser().read_bytes()
