"""Tools made of the typed functions of a Python file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

from lanemesh import Context, Node, ToolCall, ToolProgress, ToolResult, ToolSpec
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.tools.errors import unknown_tool
from lanemesh_services.tools.steps import Progress


class ToolPython(Node):
    """Offers the functions of a Python file as tools.

    Every public function with type hints becomes one: its docstring is the description for the model, its type hints are the
    parameters. Plain functions run in worker threads, `async` ones on the event loop; generators may yield `Progress` before their
    result.
    """

    offers: ClassVar = ("tool",)

    class Config(BaseModel):
        """Settings of the tools. Either `file` or `module` is set."""

        file: str = Field(
            "",
            description="Path of a Python file, relative to the pipeline's file; on a remote mesh, to the node server's working "
            "directory.",
            json_schema_extra={"format": "path"},
        )
        module: str = Field(
            "",
            description="Or the dotted name of an importable module; on a mesh elsewhere, of one that the node server allows.",
            json_schema_extra={"format": "python-module"},
        )
        functions: list[str] = Field(
            default=[], description="The functions to offer; default: every public one of the file."
        )

    @classmethod
    async def load(cls, config: Any) -> Any:
        """Loads the file in a worker thread, because it may import anything. Its global variables live as long as the resource. It
        is loaded again for the next run if the file, or an import from its folder, has changed."""
        from lanemesh_services.tools.loading import load_functions

        return await in_thread(load_functions, config.file, config.module, config.functions)

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Removes the modules of the file."""
        resource.close()

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The functions."""
        return [function.spec for function in self.resource.values()]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolResult, None]:
        """Calls a function. An exception ends the call."""
        function = self.resource.get(call.name)
        if function is None:
            raise unknown_tool(call.name, self.resource)
        async with aclosing(function.run(function.parse(call.arguments))) as steps:
            async for step in steps:
                if isinstance(step, Progress):
                    yield ToolProgress(step.message, step.fraction)
                else:
                    yield ToolResult(step.content)
