"""Runs one node in a test: with given values, by the real actor over memory lanes, and returns the result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanemesh.agents import AgentStep
from lanemesh.client.update_conversion import from_wire
from lanemesh.client.updates import Update
from lanemesh.control.ends import wire_optional
from lanemesh.control.tools import ToolHelper, ToolSet
from lanemesh.items import ABSENT, Item
from lanemesh.node.firing.loop import FiringRules
from lanemesh.node.firing.on_error import OnError, OnErrorPolicy
from lanemesh.node.helper_clients import AgentClient, LlmClient, MemoryClient
from lanemesh.node.node import Node
from lanemesh.node.runtime.actor import State
from lanemesh.testing.memories import DictMemory
from lanemesh.testing.standins import FunctionTools, ScriptedAgent, ScriptedModel, Turn
from lanemesh.testing.trial import Trial

SECONDS = 10.0
"""Default time limit of a node in a test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResult:
    """The result of a node. Outputs are attributes as well: `result.total` is `result.outputs["total"]`."""

    outputs: Mapping[str, list[Any]]
    """The values of every output, in the order in which they were emitted."""
    state: State
    """How it ended: COMPLETED, SKIPPED or FAILED."""
    firings: int
    """How often it fired."""
    skipped: int = 0
    """Firings that failed and were dropped."""
    retried: int = 0
    """Further attempts at firings that failed."""
    detail: str = ""
    """Why it was skipped, if it was."""
    error: Exception | None = None
    """Its exception, with `raises=False`."""
    items: Mapping[str, list[Item]] = field(repr=False)
    """The outputs with their envelopes: group, metadata and the like."""
    updates: list[Update] = field(repr=False)
    """Its reports: progress, thoughts, tool calls."""
    published: list[tuple[str, Any]]
    """Channel and message of all that it published, in order."""

    def __getattr__(self, name: str) -> list[Any]:
        try:
            return self.outputs[name]
        except KeyError:
            known = ", ".join(self.outputs) or "none"
            raise AttributeError(f'the node has no output "{name}"; its outputs: {known}') from None


Models = LlmClient | str | Sequence[Turn] | Mapping[str, LlmClient | str | Sequence[Turn]] | None
"""A model for a trial, or several by name."""


def run_node(
    node: type[Node],
    /,
    *,
    config: Mapping[str, Any] | None = None,
    sync_mode: str = "",
    concurrency: int = 0,
    on_error: str | Mapping[str, Mapping[str, float]] = "fail",
    isolation: str = "",
    reused: Iterable[str] = (),
    arrivals: Iterable[tuple[str, Any]] = (),
    llm: Models = None,
    tools: Mapping[str, Callable[..., Any]] | ToolHelper | None = None,
    memory: MemoryClient | Mapping[str, Any] | None = None,
    agents: Mapping[str, AgentClient | str | Sequence[AgentStep]] | None = None,
    session: str = "",
    messages: Iterable[tuple[str, Any]] = (),
    component: str = "",
    timeout: float = SECONDS,
    raises: bool = True,
    **inputs: Any,
) -> NodeResult:
    """Runs one node to its end: `run_node(Add, a=[1, 2], b=[3]).total`.

    The node runs as in a pipeline: with `load`, its firing policy, fresh copies per firing, checked and copied values, bounded
    lanes, `finalize`, `unload`. Every named input is connected, gets its values, and ends.

    Args:
        node: the node class.
        config: its settings; defaults for absent ones.
        sync_mode: "on_any", "zip_all" or "join", which pairs by order here; the node's own unless given.
        concurrency: maximum number of concurrent firings; 0: as the node has it, or two batches of a node with `batch`.
        on_error: what follows a failed firing, as in a pipeline: "fail", "skip" or {"retry": {"attempts": 3, "backoff": 0.5}}.
        isolation: "thread" or "process"; the node's own unless given.
        reused: inputs whose one item `zip_all` reuses, as in a pipeline if their producer sends exactly one.
        arrivals: pairs of input and value that arrive in this order, where the order across inputs matters; before `inputs`.
        llm: the model that is connected to it: its answers, one per request, as in `ScriptedModel`; or anything with `generate`; or
        several of these by name, if it calls several.
        tools: the tools that are connected to it: functions by name, or anything with `list` and `call`.
        memory: the memory that is connected to it: the values that it has by their keys, or a `DictMemory` or the like.
        agents: the agents that are connected to it by name: the answer to one task, as in `ScriptedAgent`, or anything with `run`
            and `stream`.
        session: the session of the run.
        messages: pairs of channel and message that it gets when it subscribes to that channel.
        component: the component's id, in errors and logs; the provider's name with "_1" unless given.
        timeout: seconds after which the test has failed.
        raises: False: an exception of the node is `error` of the result.
        **inputs: values of each input. A list, tuple, range or iterator is that many items, any other value is one item. They
            arrive input by input, in the order given: all of the first, then all of the second.

    Raises:
        TypeError: the node has no such input, or a required one was not named.
        ValueRefused: the input's lane cannot carry a value.
        TimeoutError: it did not end in time.
        RuntimeError: an event loop is running here: await `run_node_async`, which takes the same arguments.
        Exception: the exception of the node.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError("an event loop is running here: use `await run_node_async(...)` with the same arguments")
    return asyncio.run(
        run_node_async(
            node,
            config=config,
            sync_mode=sync_mode,
            concurrency=concurrency,
            on_error=on_error,
            isolation=isolation,
            reused=reused,
            arrivals=arrivals,
            llm=llm,
            tools=tools,
            memory=memory,
            agents=agents,
            session=session,
            messages=messages,
            component=component,
            timeout=timeout,
            raises=raises,
            **inputs,
        )
    )


async def run_node_async(
    node: type[Node],
    /,
    *,
    config: Mapping[str, Any] | None = None,
    sync_mode: str = "",
    concurrency: int = 0,
    on_error: str | Mapping[str, Mapping[str, float]] = "fail",
    isolation: str = "",
    reused: Iterable[str] = (),
    arrivals: Iterable[tuple[str, Any]] = (),
    llm: Models = None,
    tools: Mapping[str, Callable[..., Any]] | ToolHelper | None = None,
    memory: MemoryClient | Mapping[str, Any] | None = None,
    agents: Mapping[str, AgentClient | str | Sequence[AgentStep]] | None = None,
    session: str = "",
    messages: Iterable[tuple[str, Any]] = (),
    component: str = "",
    timeout: float = SECONDS,
    raises: bool = True,
    **inputs: Any,
) -> NodeResult:
    """`run_node` for tests that are `async` themselves."""
    arriving = [*arrivals, *((port, value) for port, values in inputs.items() for value in _several(values))]
    named = {*inputs, *(port for port, _ in arriving)}
    options = {
        "config": config,
        "sync_mode": sync_mode,
        "concurrency": concurrency > 1,
        "on_error": on_error != "fail",
        "isolation": isolation,
        "reused": reused,
        "llm": llm,
        "tools": tools,
        "memory": memory is not None,
        "agents": agents,
        "session": session,
        "messages": messages,
    }
    _check_inputs(node, named, {name for name, value in options.items() if value})
    trial = Trial(node, config or {}, component or f"{node.provider}_1", messages, session)
    wire_optional(node, trial.context)
    trial.context.wire("llm", _models(llm))
    if tools is not None:
        helper = FunctionTools(tools) if isinstance(tools, Mapping) else tools
        trial.context.wire("tool", [("", ToolSet([helper]))], ToolSet([helper]))
    if memory is not None:
        trial.context.wire("memory", [("", DictMemory(memory) if isinstance(memory, Mapping) else memory)])
    trial.context.wire("agent", [(name, _agent(agent)) for name, agent in (agents or {}).items()])
    rules = FiringRules(
        sync_mode=sync_mode or node.sync_mode,
        single_item_inputs=frozenset(reused),
        concurrency=concurrency or (node.batch_.firings if node.batch_ is not None else node.concurrency),
        on_error=_on_error(on_error),
    )
    outcome = await trial.run(named, arriving, rules, (isolation or node.isolation) == "process", timeout)
    if raises and outcome.error is not None:
        raise outcome.error
    return NodeResult(
        outputs={port: [item.value for item in items if item.value is not ABSENT] for port, items in trial.got.items()},
        items=trial.got,
        state=outcome.state,
        firings=outcome.firings,
        skipped=outcome.skipped,
        retried=outcome.retried,
        detail=outcome.detail,
        error=outcome.error,
        updates=[update for wire in trial.updates if (update := from_wire(wire)) is not None],
        published=trial.channels.published,
    )


def _several(values: Any) -> Iterable[Any]:
    return values if isinstance(values, list | tuple | range | Iterator) else (values,)


def _check_inputs(node: type[Node], named: set[str], options: set[str]) -> None:
    for port in sorted(options & node.inputs_.keys() - named):
        raise TypeError(f'"{port}" is an option and an input of {node.__name__}: pass it by arrivals=[("{port}", ...)]')
    known = ", ".join(node.inputs_) or "none"
    for port in sorted(named - node.inputs_.keys()):
        raise TypeError(f'{node.__name__} has no input "{port}"; its inputs: {known}')
    for port, spec in node.inputs_.items():
        if spec.required and port not in named:
            raise TypeError(f'{node.__name__} needs its input "{port}"; pass it, as [] to end it without an item')


def _on_error(given: str | Mapping[str, Mapping[str, float]]) -> OnError:
    if isinstance(given, str):
        return OnError(policy=OnErrorPolicy(given))
    retry = given["retry"]
    return OnError(policy=OnErrorPolicy.RETRY, attempts=int(retry["attempts"]), backoff=retry.get("backoff", 0.0))


def _models(given: Models) -> list[tuple[str, LlmClient]]:
    if isinstance(given, Mapping):
        return [(name, _model(model)) for name, model in given.items()]
    return [] if given is None else [("", _model(given))]


def _model(given: LlmClient | str | Sequence[Turn]) -> LlmClient:
    if isinstance(given, str):
        return ScriptedModel(given)
    return ScriptedModel(*given) if isinstance(given, Sequence) else given


def _agent(given: AgentClient | str | Sequence[AgentStep]) -> AgentClient:
    return ScriptedAgent(given) if isinstance(given, str | Sequence) else given
