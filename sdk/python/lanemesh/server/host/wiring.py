"""Control connections of a run on one host: clients for its invokers, helpers for everyone."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from lanemesh.control.connection import Waiting
from lanemesh.control.instance import HelperInstance
from lanemesh.control.llm import LlmClient, LocalLlmClient
from lanemesh.control.tools import LocalToolClient, ToolClient, ToolHelper
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.context import Context
from lanemesh.protocol import SERVED_CLASS_TYPES, control_edge_id
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    from lanemesh._grpc.connections import ConnectionPool
    from lanemesh.server.host.taps import Traces


class Wiring:
    """Resolves control connections into clients. `pool` is called only for helpers that live elsewhere."""

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
        """Gives each invoker's context its clients. Returns what makes sure that each can be reached: await them all.

        Raises:
            LanemeshError: a connection is of a kind that this version has not.
        """
        llms: dict[str, list[tuple[str, LlmClient]]] = {}
        tools: dict[str, list[tuple[str, ToolHelper]]] = {}
        reaching: list[Awaitable[None]] = []
        for control in controls:
            context = contexts[control.invoker]
            match control.class_type:
                case "llm":
                    llm = self._traced_llm(control, self._llm(control, context))
                    llms.setdefault(control.invoker, []).append((control.name, llm))
                    reaching.append(llm.reach())
                case "tool":
                    tools.setdefault(control.invoker, []).append(
                        (control.name, self._traced_tool(control, self._tool(control, context)))
                    )
                case other:
                    where = f"the control connection of {control.invoker} to {control.helper}"
                    message = (
                        f'{where} is of the class "{other}"; helpers are called as {", ".join(SERVED_CLASS_TYPES)}'
                    )
                    raise LanemeshError(Fault(code=Code.UNIMPLEMENTED, reason="unknown-class-type", message=message))
        for invoker, models in llms.items():
            contexts[invoker].wire(llms=models)
        for invoker, helpers in tools.items():
            client = ToolClient([helper for _, helper in helpers])
            contexts[invoker].wire(tools=client, toolsets=[(name, ToolClient([helper])) for name, helper in helpers])
            reaching.append(client.reach())
        return reaching

    def _traced_llm(self, control: node_pb2.ControlConnection, llm: LlmClient) -> LlmClient:
        if self._traces is None:
            return llm
        from lanemesh.control.traced import TracedLlm

        return TracedLlm(llm, self._traces.of_control(_edge_id(control)))

    def _traced_tool(self, control: node_pb2.ControlConnection, tools: ToolHelper) -> ToolHelper:
        if self._traces is None:
            return tools
        from lanemesh.control.traced import TracedTools

        return TracedTools(tools, self._traces.of_control(_edge_id(control)))

    def _llm(self, control: node_pb2.ControlConnection, context: Context) -> LlmClient:
        if not control.helper_address:
            return LocalLlmClient(
                self._helpers[control.helper], invoker=control.invoker, waiting=_waiting(context, control)
            )
        from lanemesh.control.grpc_clients import GrpcLlmClient

        assert self._pool is not None
        return GrpcLlmClient(
            self._pool.channel(control.helper_address),
            self._run_id,
            control.helper,
            invoker=control.invoker,
            address=control.helper_address,
            waiting=_waiting(context, control),
            traceparent=context.traceparent,
        )

    def _tool(self, control: node_pb2.ControlConnection, context: Context) -> ToolHelper:
        if not control.helper_address:
            return LocalToolClient(
                self._helpers[control.helper], invoker=control.invoker, waiting=_waiting(context, control)
            )
        from lanemesh.control.grpc_clients import GrpcToolClient

        assert self._pool is not None
        return GrpcToolClient(
            self._pool.channel(control.helper_address),
            self._run_id,
            control.helper,
            invoker=control.invoker,
            address=control.helper_address,
            waiting=_waiting(context, control),
            traceparent=context.traceparent,
        )


def _edge_id(control: node_pb2.ControlConnection) -> str:
    return control_edge_id(control.invoker, control.helper, control.class_type, control.name)


def _waiting(context: Context, control: node_pb2.ControlConnection) -> Waiting:
    return partial(context.waiting_for, f"the {control.class_type} helper {control.helper}")
