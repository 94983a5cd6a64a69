"""Tools made of the typed functions of a Python file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanemesh import ToolNode
from lanemesh.extend import ToolFunction, in_thread
from pydantic import BaseModel, Field, SecretStr


class ToolPython(ToolNode):
    """Offers the functions of a Python file as tools.

    If the file marks functions with `@tool`, these are its tools. Otherwise every public function with type hints is one. The
    docstring is the description for the model, and the type hints are the parameters. Plain functions run in worker threads,
    `async` ones on the event loop; generators yield their progress.
    """

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
            default=[],
            description="The functions to offer; default: those that the file marks with `@tool`; if it marks none, every "
            "public one.",
        )
        secrets: dict[str, SecretStr] = Field(
            default={},
            description="Secrets for the functions, as `context.secrets`: from environment variables of the node server, such as "
            '{"key": "${WEATHER_KEY}"}.',
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

    def tools(self) -> Mapping[str, ToolFunction]:
        """The functions by the names of the tools."""
        functions: Mapping[str, ToolFunction] = self.resource
        return functions
