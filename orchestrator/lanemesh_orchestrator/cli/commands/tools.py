"""`lanemesh tools list` and `call`: the tools of the deployed pipelines of a mesh."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lanemesh.chat import ToolPart, ToolProgress, ToolResult
from lanemesh.client.client import Client
from lanemesh.client.tools import MeshTool
from lanemesh.values import Document, Media

from lanemesh_orchestrator.cli.commands.deployments import on_mesh
from lanemesh_orchestrator.cli.commands.nodes import print_rich
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.output.streams import is_terminal
from lanemesh_orchestrator.cli.output.visible import cells, visible


def list_tools(deployment: str, *, mesh: str, as_json: bool) -> ExitCode:
    """Prints the tools."""
    found = on_mesh(mesh, lambda client: client.tools(deployment))
    if as_json:
        print(json_text([_to_json(tool) for tool in found], indent=2))
    elif not found:
        print("The deployed pipelines have no tools. Deploy one that has: lanemesh deploy FILE.pipe --name NAME")
    else:
        _print_table(found)
    return ExitCode.COMPLETED


def call_tool(
    name: str, given: Sequence[str], *, deployment: str, timeout: float | None, mesh: str, as_json: bool
) -> ExitCode:
    """Calls a tool, and prints its result. Exit code 1 if it failed."""

    async def work(client: Client) -> ToolResult:
        arguments = read_arguments(given, await _parameters(client, name, deployment))
        return await client.call_tool(
            name, arguments, deployment=deployment, timeout=timeout, on_progress=_print_progress
        )

    result = on_mesh(mesh, work)
    if as_json:
        print(json_text(_result_json(result), indent=2))
    else:
        _print_result(result)
    return ExitCode.FAILED if result.is_error else ExitCode.COMPLETED


async def _parameters(client: Client, name: str, deployment: str) -> Mapping[str, Any]:
    """The schema of a tool's arguments; empty if there is no such tool, which the call reports."""
    tools = await client.tools(deployment)
    return next((tool.parameters for tool in tools if tool.name == name), {})


def read_arguments(given: Sequence[str], parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call: of one JSON object, or of `key=value` words.

    A value is JSON if it is valid JSON, otherwise text. It is text in any case where the schema of the tool accepts only text.

    Raises:
        CommandError: a word is neither, or a key is given twice.
    """
    if len(given) == 1 and given[0].lstrip().startswith("{"):
        return _object(given[0])
    found: dict[str, Any] = {}
    properties = parameters.get("properties", {})
    for word in given:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise CommandError(f'"{word}" is no argument of a tool. Write KEY=VALUE, or one JSON object.')
        if key in found:
            raise CommandError(f"The argument {key} is given twice. Give it once; a list is written as {key}=[1,2].")
        schema = properties.get(key)
        is_text = isinstance(schema, Mapping) and schema.get("type") == "string"
        found[key] = value if is_text else _value(value)
    return found


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"The arguments are not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise CommandError("The arguments are not a JSON object.")
    return value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _to_json(tool: MeshTool) -> dict[str, Any]:
    flat = {"name": tool.name, "description": tool.description, "deployment": tool.deployment}
    return flat | {"component": tool.component, "parameters": json.loads(json.dumps(tool.parameters, default=list))}


def _print_table(found: Sequence[MeshTool]) -> None:
    from rich.table import Table

    table = Table("name", "arguments", "deployment", "component", "description", box=None, pad_edge=False, expand=True)
    table.columns[4].ratio, table.columns[4].no_wrap, table.columns[4].overflow = 1, True, "ellipsis"
    for tool in found:
        required = tool.parameters.get("required", ())
        names = [name if name in required else f"[{name}]" for name in tool.parameters.get("properties", ())]
        texts = (tool.name, " ".join(names), tool.deployment, tool.component, " ".join(tool.description.split()))
        table.add_row(*cells(texts))
    print_rich(table)


def _print_progress(progress: ToolProgress) -> None:
    share = "" if progress.fraction is None else f" ({progress.fraction:.0%})"
    print(visible(f"{progress.message or 'progress'}{share}"), file=sys.stderr, flush=True)


def _print_result(result: ToolResult) -> None:
    """Prints text as it is and other values as JSON; an error on standard error. Media are described in the value."""
    try:
        value = result.value
    except ValueError:
        value = result.content
    text = value if isinstance(value, str) else json_text(value, indent=2)
    stream = sys.stderr if result.is_error else sys.stdout
    print(visible(text) if is_terminal(stream) else text, file=stream)


def _result_json(result: ToolResult) -> dict[str, Any]:
    try:
        value = result.value
    except ValueError:
        value = result.content
    flat = {"name": result.name, "is_error": result.is_error, "seconds": result.seconds, "value": value}
    return flat | {"parts": [_part_json(part) for part in result.parts]}


def _part_json(part: ToolPart) -> dict[str, Any]:
    if isinstance(part, Document):
        flat = {"type": "document", "content": part.content, "source": part.source}
        return flat | ({"file": _media_json(part.file)} if part.file is not None else {})
    kind = type(part).__name__.lower()
    return {"type": kind, **_media_json(part)}


def _media_json(media: Media) -> dict[str, Any]:
    return {"mime_type": media.mime_type, "content": base64.b64encode(media.content).decode("ascii")}
