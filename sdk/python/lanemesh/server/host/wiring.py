"""Control connections of a run on one host: clients for invokers, and helpers that serve them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from lanemesh.control.connection import Waiting
from lanemesh.control.ends import HelperClient, HelperLink, ends_of
from lanemesh.control.instance import HelperInstance
from lanemesh.control.links import LocalLink
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.helper_kinds import HELPER_KINDS, HelperKind
from lanemesh.node.context import Context
from lanemesh.protocol import control_edge_id
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    from lanemesh._grpc.connections import ConnectionPool
    from lanemesh.server.host.taps import Traces


class Wiring:
    """Resolves control connections into clients. `pool` is used only for helpers on other servers."""

    def __init__(
        self,
        run_id: str,
        helpers: Mapping[str, HelperInstance],
        pool: ConnectionPool | None,
        traces: Traces | None = None,
    ) -> None:
        """`traces` reports requests and answers; None: they are not reported."""
        self._traces = traces
        self._run_id = run_id
        self._helpers = helpers
        self._pool = pool

    def wire(
        self, controls: Iterable[node_pb2.ControlConnection], contexts: Mapping[str, Context]
    ) -> list[Awaitable[None]]:
        """Sets the clients in each invoker's context. Returns awaitables that check that each helper can be reached.

        Raises:
            LanemeshError: this version does not support the kind of a connection.
        """
        clients: dict[tuple[str, str], list[tuple[str, HelperClient]]] = {}
        for control in controls:
            kind = _kind(control)
            client = ends_of(kind).client(self._link(kind, control, contexts[control.invoker]))
            clients.setdefault((control.invoker, kind.name), []).append((control.name, client))
        reaching: list[Awaitable[None]] = []
        for (invoker, name), named in clients.items():
            each = [client for _, client in named]
            make = ends_of(HELPER_KINDS[name]).together
            if make is None:
                contexts[invoker].wire(name, named)
                reaching += [client.reach() for client in each]
            else:
                together = make(each)
                contexts[invoker].wire(name, [(its_name, make([client])) for its_name, client in named], together)
                reaching.append(together.reach())
        return reaching

    def _link(self, kind: HelperKind, control: node_pb2.ControlConnection, context: Context) -> HelperLink:
        link = self._untraced(kind, control, context)
        if self._traces is None:
            return link
        from lanemesh.control.traced import TracedLink

        edge_id = control_edge_id(control.invoker, control.helper, control.class_type, control.name)
        return TracedLink(kind, link, self._traces.of_control(edge_id))

    def _untraced(self, kind: HelperKind, control: node_pb2.ControlConnection, context: Context) -> HelperLink:
        waiting: Waiting = partial(context.waiting_for, f"the {kind.name} helper {control.helper}")
        if not control.helper_address:
            return LocalLink(kind, self._helpers[control.helper], invoker=control.invoker, waiting=waiting)
        from lanemesh.control.grpc_link import GrpcLink

        assert self._pool is not None
        return GrpcLink(
            kind,
            self._pool.channel(control.helper_address),
            self._run_id,
            control.helper,
            invoker=control.invoker,
            address=control.helper_address,
            waiting=waiting,
            traceparent=context.traceparent,
        )


def _kind(control: node_pb2.ControlConnection) -> HelperKind:
    kind = HELPER_KINDS.get(control.class_type)
    if kind is None:
        where = f"the control connection of {control.invoker} to {control.helper}"
        message = f'{where} is of the class "{control.class_type}"; helpers are called as {", ".join(HELPER_KINDS)}'
        raise LanemeshError(Fault(code=Code.UNIMPLEMENTED, reason="unknown-class-type", message=message))
    return kind
