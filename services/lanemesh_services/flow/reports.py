"""What an inner run reports, as reports of the node that runs it."""

from __future__ import annotations

from lanemesh import (
    ApprovalState,
    ApprovalUpdate,
    Context,
    HelperUpdate,
    LogLevel,
    LogUpdate,
    ProgressUpdate,
    ThoughtUpdate,
    ToolCallUpdate,
    ToolProgress,
    ToolProgressUpdate,
    ToolResult,
    ToolResultUpdate,
    Update,
)

MAX_MESSAGE = 1_000
"""Most characters of a message that is passed on."""


async def pass_on(update: Update, context: Context, run_id: str) -> None:
    """Reports progress, warnings, errors, what models used, and the actions of agents of an inner run to the clients of the outer
    one, with the names of the inner components. Waits while they are behind."""
    match update:
        case HelperUpdate():
            await context.report_usage(f"{run_id} {update.component}", update.calls, update.usage)
        case ProgressUpdate():
            message = f"{update.component}: {update.message}"[:MAX_MESSAGE]
            context.progress(update.done, update.total, message)
        case LogUpdate(level=LogLevel.WARNING):
            context.log.warning("%s: %.*s", update.component, MAX_MESSAGE, update.message)
        case LogUpdate(level=LogLevel.ERROR):
            context.log.error("%s: %.*s", update.component, MAX_MESSAGE, update.message)
        case ThoughtUpdate():
            await context.report_tool(update.text, wave=update.wave)
        case ToolCallUpdate():
            await context.report_tool(update.call, wave=update.wave)
        case ToolProgressUpdate():
            progress = ToolProgress(update.message, update.fraction, update.call_id, update.usage)
            await context.report_tool(progress, wave=update.wave)
        case ToolResultUpdate():
            result = ToolResult(update.content, update.call_id, update.name, update.is_error, update.seconds)
            await context.report_tool(result, wave=update.wave)
        case ApprovalUpdate(state=ApprovalState.REQUESTED):
            context.log.warning(
                "%s waits for an approval of %s: decide it with `lanemesh approve %s %s`",
                *(update.component, update.tool or update.description[:MAX_MESSAGE], run_id, update.call_id),
            )
