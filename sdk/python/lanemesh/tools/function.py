"""A Python function as a tool: its description, and its calls."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from lanemesh.chat import ToolEvent
from lanemesh.faults import Fault, LanemeshError
from lanemesh.node.callables import CallKind, innermost, kind_of, may_return
from lanemesh.node.context import Context
from lanemesh.tools.context import ToolContext
from lanemesh.tools.docstrings import read_docstring
from lanemesh.tools.errors import CallFailed, bad_function, failure
from lanemesh.tools.mark import ToolOptions, options_of
from lanemesh.tools.parsing import parse_arguments
from lanemesh.tools.results import result_of
from lanemesh.tools.running import Execution, TimedOut
from lanemesh.tools.schema import parameters_of
from lanemesh.values import ToolCall, ToolSpec

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NO_SECRETS: Mapping[str, str] = MappingProxyType({})
"""No secrets for the context of a call."""


class ToolFunction:
    """A function that models can call."""

    def __init__(self, call: Callable[..., Any], where: str, name: str = "", *, typed: bool = True) -> None:
        """Describes a function.

        Args:
            call: a function of any sort, marked with `@tool` or not.
            where: its file or class, for errors.
            name: its name for models, unless `@tool` gives one; default: its own.
            typed: a parameter without a type is an error, unless the function is marked.

        Raises:
            LanemeshError: "bad-tool-function": it lacks type hints, has some that JSON cannot express, or its name cannot be that
                of a tool.
        """
        marked = options_of(call)
        options = marked or ToolOptions()
        self.name = options.name or name or getattr(call, "__name__", "")
        """Its name for models."""
        if not _NAME.fullmatch(self.name):
            why = f'models do not accept "{self.name:.80}" as the name of a tool'
            raise bad_function(where, name or self.name, why, 'Use at most 64 letters, digits, "_" and "-".')
        self.timeout = options.timeout
        """Most seconds for a call; None: no limit of its own."""
        doc = read_docstring(_text(call))
        self._parameters = parameters_of(call, where, self.name, doc, typed=typed and marked is None)
        self.spec = ToolSpec(self.name, options.description or doc.description, self._parameters.schema)
        """The description of the function for a model."""
        self._call = call
        kind = kind_of(innermost(call))
        self._hold = not (kind is CallKind.GENERATOR and may_return(call))

    def bound(self, call: Callable[..., Any]) -> ToolFunction:
        """The same tool for another instance: `call` is the same method of that instance."""
        bound = copy.copy(self)
        bound._call = call
        return bound

    async def events(
        self, context: Context, call: ToolCall, secrets: Mapping[str, str] = NO_SECRETS
    ) -> AsyncGenerator[ToolEvent, None]:
        """Calls the function: any progress, then one result. What goes wrong is a result that says so to the model; an exception is
        logged with its traceback. Leaving the iteration cancels the function.

        Args:
            context: that of the component.
            call: the call of the model.
            secrets: for the context of the call.
        """
        execution = Execution(self.name, context.log.warning)
        own = ToolContext(context, tool=self.name, call_id=call.id, secrets=secrets, report=execution.report)
        try:
            arguments = parse_arguments(self.name, self._parameters, call.arguments)
            bound = self._bound(arguments, {Context: context, ToolContext: own})
            made = execution.steps(bound, hold=self._hold, timeout=self.timeout, on_cancel=own.end)
            async with aclosing(made) as steps:
                async for progress in steps:
                    yield progress
            result = result_of(self.name, execution.value)
        except CallFailed as failed:
            result = failed.result()
        except TimedOut:
            message = (
                f"the tool {self.name} did not end within {self.timeout:g} s, and was cancelled. Ask for less at once"
            )
            result = failure("tool-timeout", message)
        except LanemeshError as error:
            result = failure(error.fault.reason, error.fault.message)
        except Exception as error:
            fault = Fault.from_exception(error)
            context.log.warning("the tool %s failed: %s\n%s", self.name, fault.message, fault.traceback)
            result = failure("tool-failed", fault.message)
        finally:
            own.end()
        yield result

    def _bound(self, arguments: Mapping[str, Any], contexts: Mapping[type, object]) -> Callable[[], Any]:
        """The function with its arguments."""
        values = {**arguments, **{name: contexts[kind] for name, kind in self._parameters.hidden.items()}}
        ahead = [values.pop(name) for name in self._positional]
        return functools.partial(self._call, *ahead, **values)

    @functools.cached_property
    def _positional(self) -> list[str]:
        """The parameters that are passed by position only."""
        return [
            item.name for item in inspect.signature(self._call).parameters.values() if item.kind is item.POSITIONAL_ONLY
        ]


def _text(call: Callable[..., Any]) -> str:
    """The docstring of a function, or of the function that an object or a partial application calls."""
    own = inspect.getdoc(call) if inspect.isroutine(call) or hasattr(call, "__wrapped__") else ""
    of_object = "" if isinstance(call, functools.partial) else inspect.getdoc(type(call))
    return own or inspect.cleandoc(innermost(call).__doc__ or "") or of_object or ""
