"""The two ends of control connections, which the module of a helper kind defines as `ENDS`: clients for nodes, and answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.helper_kinds import HELPER_KINDS, HelperKind
from lanemesh.node.context import Context
from lanemesh.node.node import Node

if TYPE_CHECKING:
    from lanemesh.control.connection import Connection
    from lanemesh.control.instance import HelperInstance


class HelperLink(Protocol):
    """The link to one helper, for the client of its kind. Requests and responses are the messages of the kind's service."""

    @property
    def connection(self) -> Connection:
        """The connection, named in errors."""

    def stream(self, method: str, request: Any, timeout: float | None = None) -> AsyncGenerator[Any, None]:
        """Calls a method that streams. Leaving the iteration cancels the call at the helper.

        Args:
            method: the method of the kind's service.
            request: its request.
            timeout: most seconds until the end of the answer; None: the limit of the link.

        Raises:
            LanemeshError: the helper's own fault, "helper-timeout", or that of the connection.
        """

    async def call(self, method: str, request: Any, timeout: float | None = None) -> Any:
        """Calls a method that returns one response. Arguments and errors are those of `stream`."""

    async def reach(self) -> None:
        """Checks that the helper can be called. Raises LanemeshError that names helper, invoker and address."""


class HelperClient(Protocol):
    """The client of a node for one helper, or for all helpers of a kind together."""

    async def reach(self) -> None:
        """Checks that its helpers can be called. Raises LanemeshError that names helper, invoker and address."""


class AnswerTrace(Protocol):
    """Assembles the report of one answer."""

    def add(self, piece: Any) -> Mapping[str, Any] | None:
        """Adds a piece. Returns the answer as JSON if it is complete now."""

    def rest(self) -> Mapping[str, Any] | None:
        """The answer as JSON, if it ended before it was complete; None: nothing is reported."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an answer whose last response shows that it is the last one. gRPC sends that response together with the status."""

    is_last: Callable[[Any], bool]
    """Whether a response is the last one."""
    missing: Callable[[HelperInstance, Any], LanemeshError]
    """Takes the request. Makes the error of an answer that has ended without such a response."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a helper to one method of the kind's service."""

    begin: Callable[[HelperInstance, Any], Any]
    """Takes the request. Returns an asynchronous generator of responses if the method streams, else an awaitable response."""
    trace: Callable[[], AnswerTrace] | None = None
    """Makes the trace that reports requests and answers, at the trace levels above none; None: they are not reported."""
    ending: Ending | None = None
    """How the answer ends; None: as its generator does, or it is one response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperEnds:
    """Both ends of the control connections of one kind."""

    answers: Mapping[str, Answer]
    """The answer to each method of the service, by its name."""
    client: Callable[[HelperLink], HelperClient]
    """Makes the client for one helper."""
    together: Callable[[Sequence[Any]], HelperClient] | None = None
    """Makes one client from the clients of all helpers, also from none, for a node that works without. None: a node has only the
    separate clients."""


def ends_of(kind: HelperKind) -> HelperEnds:
    """The ends of a kind, from its module."""
    return _ends(kind.module)


@cache
def _ends(module: str) -> HelperEnds:
    ends: HelperEnds = import_module(module).ENDS
    return ends


def begin_answer(kind: HelperKind, method: str, helper: HelperInstance, request: Any) -> Any:
    """Starts an answer. Returns the result of `Answer.begin`. Raises LanemeshError if the kind does not have the method."""
    answer = ends_of(kind).answers.get(method)
    if answer is None:
        message = (
            f"{method} of {kind.service} is not served here; the methods that are: {', '.join(ends_of(kind).answers)}"
        )
        raise LanemeshError(Fault(code=Code.UNIMPLEMENTED, reason="not-offered", message=message))
    return answer.begin(helper, request)


def wire_optional(node: type[Node], context: Context) -> None:
    """Sets the clients of a node for each kind of helper that is optional and not connected."""
    for kind in HELPER_KINDS.values():
        if node.may_go_without(kind.name) and (together := ends_of(kind).together) is not None:
            context.wire(kind.name, (), together(()))
