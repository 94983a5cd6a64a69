"""Shell commands as a tool, where the operator of the node server permits it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from lanemesh import Context, ToolNode, ToolSpec, tool
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.tools.folders import Folder
from lanemesh_services.tools.processes import run_program

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""Variables of the node server that commands get."""


class ToolShell(ToolNode):
    """Offers shell commands in a folder as a tool.

    It is off unless the node server permits it: `lanemesh node --allow-shell`, or `LANEMESH_ALLOW=shell` in the environment, also
    of a local run. The folder is where commands begin, not a limit: a command may do whatever the user of the node server may do.
    """

    class Config(BaseModel):
        """Settings of the commands."""

        root: str = Field(
            ".", description="Path of the folder in which commands begin.", json_schema_extra={"format": "path"}
        )
        timeout: float = Field(
            60, gt=0, le=3600, description="Time limit of a command, in seconds; then it is killed with its children."
        )
        max_bytes: int = Field(
            100_000,
            ge=1_000,
            le=2_000_000,
            description="Most bytes of each of output and errors; at more it is killed.",
        )
        variables: dict[str, str] = Field(
            default={},
            description="Environment variables of the commands. Of those of the node server they have only PATH, HOME and the "
            "like.",
        )

    @classmethod
    async def load(cls, config: Any) -> Folder:
        """Resolves the folder. Raises LanemeshError if there is none."""
        return await in_thread(lambda: Folder.of(cls.provider, config.root, hidden=True))

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The tool. Raises LanemeshError ("not-permitted") if the node server does not permit it."""
        context.permissions.check("shell", context.component, "run shell commands")
        (spec,) = await super().list_tools(context)
        limit = f"A command has {self.config.timeout:g} s, and no input."
        return [replace(spec, description=f"{spec.description}\n\n{limit}")]

    @tool
    async def run_command(
        self, command: Annotated[str, Field(min_length=1, max_length=20_000)], context: Context
    ) -> dict[str, Any]:
        """Runs a command of the shell sh, and returns its exit code, output and errors.

        Args:
            command: The command.
        """
        context.permissions.check("shell", context.component, "run shell commands")
        folder: Folder = self.resource
        ended = await run_program(
            ["/bin/sh", "-c", command],
            folder=folder.root,
            environment=self._environment(),
            timeout=self.config.timeout,
            limit=self.config.max_bytes,
        )
        shown: dict[str, Any] = {"code": ended.code}
        for name, content in (("output", ended.output), ("errors", ended.errors)):
            if content:
                shown[name] = content.decode("utf-8", "replace")
        if ended.cut:
            shown["note"] = f"it was killed after {self.config.max_bytes:,} bytes"
        return shown

    def _environment(self) -> Mapping[str, str]:
        return {**{name: os.environ[name] for name in _KEPT if name in os.environ}, **self.config.variables}
