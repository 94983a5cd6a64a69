"""Tools, resources and prompts that a Python file adds to those of the mesh."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanemesh._aio.user_errors import failure_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.server.user_code import UserCode, UserCodeFailed

if TYPE_CHECKING:
    from mcp.server import MCPServer

FUNCTION = "add_to"
"""Name of the function that the file defines."""


def add_from(file: Path, server: MCPServer[Any]) -> UserCode:
    """Calls `add_to(server)` of a Python file, which registers tools, resources and prompts with the decorators of the MCP SDK.

    Returns the loaded code, to be closed when the server has ended.

    Raises:
        LanemeshError: the file cannot be imported, has no such function, or the function fails ("bad-mcp-file").
    """
    try:
        code = UserCode.of_file(file.absolute())
    except UserCodeFailed as error:
        raise _bad_file(file, f"it cannot be imported: {error}", "Run it with Python to see the error") from None
    try:
        add = getattr(code.module, FUNCTION, None)
        if not inspect.isfunction(add):
            raise _bad_file(file, f"it has no function {FUNCTION}", f"Define one: def {FUNCTION}(server: MCPServer)")
        add(server)
    except LanemeshError:
        code.close()
        raise
    except BaseException as error:
        code.close()
        why = f"{FUNCTION} raised {Fault.from_exception(failure_of(error)).message}"
        raise _bad_file(file, why, "Run it with Python to see the error") from error
    return code


def _bad_file(file: Path, why: str, hint: str) -> LanemeshError:
    message = f"--with {file} cannot be used: {why}. {hint}"
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-mcp-file", message=message))
