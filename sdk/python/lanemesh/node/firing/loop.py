"""The firings of a `process` or `gen_process` node: sequential, several in one thread hop, or concurrent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from lanemesh._aio.threads import HOP_SECONDS, HopSize
from lanemesh._aio.user_errors import Closing
from lanemesh.items import ABSENT, GroupOutcome
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.node.context import Context
from lanemesh.node.firing.bodies import MAX_HOP_BYTES, Body, ThreadBody
from lanemesh.node.firing.deadline import Deadline
from lanemesh.node.firing.executor import Firing, FiringExecutor
from lanemesh.node.firing.fast_path import PlainFirings, is_plain
from lanemesh.node.firing.on_error import OnError, OnErrorPolicy
from lanemesh.node.firing.policies import OnAny, ZipAll
from lanemesh.node.firing.taking import (
    NoMoreFirings,
    PolicyTaking,
    SingleTaking,
    TakenSet,
    Taking,
    Valueless,
    collect_lists,
    newest_value,
)
from lanemesh.node.join.lineage import tracker_of
from lanemesh.node.node import Kind, Node
from lanemesh.node.outputs import Outputs

MAX_BATCHED_BYTES = 64 * 1024 * 1024
"""Bytes of the items of one component's firings under way at which it adds none to batches: 64 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FiringRules:
    """The firing settings of one component."""

    sync_mode: str
    """Sync mode: "on_any", "zip_all" or "join"."""
    single_item_inputs: frozenset[str] = frozenset()
    """Inputs that get exactly one item, which `zip_all` and `join` reuse."""
    join_on: str = ""
    """With "join": the fork, as "component.port", by whose sequence tags items are paired; empty: by their position."""
    forks: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The forks whose sequence tags the items of incoming edges carry, by edge."""
    concurrency: int = 1
    """Maximum number of concurrent firings."""
    on_error: OnError = field(default_factory=OnError)
    """The handling of a failed firing."""


class Firings:
    """Fires one node until no further firing is possible."""

    def __init__(
        self,
        node: Node,
        context: Context,
        inbox: Inbox,
        outputs: Outputs,
        body: Body,
        deadline: Deadline,
        rules: FiringRules,
    ) -> None:
        self.executor = FiringExecutor(node, context, outputs, body, deadline, rules.on_error)
        """Executes each firing."""
        self.executor.tracker = tracker_of(rules.forks.values(), outputs.forks)
        self._class = type(node)
        self.executor.fires_separately = self._class.separate_inputs and rules.sync_mode == "on_any"
        self._specs = self._class.inputs_
        self._context = context
        self._inbox = inbox
        self._outputs = outputs
        self._body = body
        self._deadline = deadline
        self._rules = rules
        if self._class.kind_ is not Kind.RUN:
            context.latest_reader = self._newest

    async def run(self) -> NoMoreFirings:
        """Fires until the inputs are exhausted.

        Raises:
            LaneFault: a producer or a consumer failed.
            LanemeshError: the node violates a rule.
            Exception: raised by the body.
        """
        lists = await collect_lists(self._context.component, self._inbox, self._specs, self._context.waits)
        if self._outputs.closes_node:
            return NoMoreFirings(False, "")  # the lists may be incomplete
        self.executor.latest.update(lists)
        singles = {name: spec for name, spec in self._specs.items() if not spec.is_list}
        connected = [name for name in singles if self._inbox.port(name).edges]
        if not connected:
            missing = [name for name, spec in singles.items() if spec.required]
            if missing:
                return NoMoreFirings(True, f'the input "{missing[0]}" is not connected')
            await self.executor.perform(self.executor.begin({}))
            return NoMoreFirings(False, "")
        taking = self._taking(connected)
        if self._context.incarnation:
            taking.begun = True  # earlier items may have been processed elsewhere
        if self._rules.concurrency > 1:
            from lanemesh.node.firing.concurrent import ConcurrentFirings

            concurrent = ConcurrentFirings(
                self._context,
                self.executor,
                taking,
                self._outputs,
                self._rules.concurrency,
                wait_for_more=lambda: self._more(taking, connected),
                max_bytes=MAX_BATCHED_BYTES if self._class.batch_ is not None else None,
            )
            over = await concurrent.run()
        else:
            over = await self._one_by_one(taking, connected)
        if over.detail and not over.skipped:
            self._context.log.warning("ended with %s", over.detail)
        return over

    async def close(self, outcome: GroupOutcome) -> None:
        """Ends the groups that the node has passed on in part and will not complete."""
        await self.executor.close(outcome)

    def _newest(self, name: str) -> Any:
        """The newest value of an input, waiting or taken, as a firing would get it."""
        spec, latest = self._specs.get(name), self.executor.latest
        port = self._inbox.port(name)  # raises if there is no such port
        newest = newest_value(port)
        if spec is None or spec.is_list or newest is ABSENT:
            value = latest.get(name, None if spec is None or spec.required else spec.default)
            return self.executor.copier.unshared(value)
        return self.executor.copier.unshared(spec.check(newest, self._context.component))

    def _taking(self, names: list[str]) -> Taking:
        connected = frozenset(names)
        lockstep = self._rules.sync_mode in ("zip_all", "join")
        if self._rules.sync_mode == "join" and self._rules.join_on:
            from lanemesh.node.firing.join_taking import JoinTaking

            reused = self._rules.single_item_inputs & connected
            return JoinTaking(self._inbox, names, self._rules.join_on, reused, self.executor.tracker)
        if lockstep and (len(names) > 1 or self._rules.single_item_inputs & connected):
            reused = self._rules.single_item_inputs & connected
            zipping = ZipAll(reused, connected)
            return PolicyTaking(self._inbox, names, zipping, waits_for_all=True, reused=reused)
        required = frozenset(name for name in names if self._specs[name].required)
        if len(names) == 1:
            return SingleTaking(self._inbox, names[0], required=lockstep or bool(required))
        return PolicyTaking(self._inbox, names, OnAny(required), waits_for_all=False)

    async def _more(self, taking: Taking, names: list[str]) -> None:
        """Waits until the state of these ports changes."""
        with self._context.waits.waiting(taking.waits_for):
            await self._inbox.changed(names)

    def _plain_firings(self, connected: list[str]) -> PlainFirings | None:
        """The fast path for plain items, if the node permits it."""
        lists = any(spec.is_list for spec in self._specs.values())
        if lists or len(connected) > 1 or self._rules.single_item_inputs:
            return None
        generates = self._class.kind_ is Kind.GENERATE
        if generates and not self.executor.passes_nothing_on:
            return None
        if isinstance(self._body, ThreadBody) and not self._shares_hops():
            return None
        if self._deadline.seconds is not None or not is_plain(self._specs[connected[0]]):
            return None
        return PlainFirings(
            self._inbox,
            connected[0],
            self._context,
            self.executor,
            self._outputs,
            self._body,
            generates=generates,
        )

    async def _one_by_one(self, taking: Taking, names: list[str]) -> NoMoreFirings:
        plain = self._plain_firings(names)
        if self._outputs.closes_node:
            return NoMoreFirings(False, "")
        threads = self._body if isinstance(self._body, ThreadBody) and self._shares_hops() else None
        hops = HopSize()
        while True:
            if plain is not None and await plain.fire():
                taking.begun = True
            if self._outputs.closes_node:
                return NoMoreFirings(False, "")
            step: TakenSet | Valueless | NoMoreFirings | Exception | None
            if threads is not None:
                step = await self._hop(taking, hops, threads)
            elif type(step := taking.next()) is dict:
                await self.executor.perform(self.executor.begin(step))
                self._inbox.mark_processed()
            if isinstance(step, Exception):
                raise step
            if isinstance(step, NoMoreFirings):
                return step
            if isinstance(step, Valueless):
                await self.executor.pass_on(step)
            elif step is None:
                await self._more(taking, names)

    def _shares_hops(self) -> bool:
        """Whether several firings may share a hop. Generators may not if they have a time limit or are retried, because the next
        one begins before the loop has seen the end of the last."""
        if self._class.kind_ is Kind.PROCESS:
            return True
        return self._deadline.seconds is None and self._rules.on_error.policy is not OnErrorPolicy.RETRY

    async def _hop(
        self, taking: Taking, hops: HopSize, body: ThreadBody
    ) -> TakenSet | Valueless | NoMoreFirings | Exception | None:
        """Fires ready sets in hops to a worker thread, and returns the step after them. Raises an error after the earlier
        firings."""
        firings: list[Firing] = []
        size = 0
        step: TakenSet | Valueless | NoMoreFirings | Exception | None = None
        while len(firings) < hops.most and size < MAX_HOP_BYTES:
            try:
                step = taking.next()
            except Exception as error:
                step = error
            if type(step) is not dict:
                break
            firings.append(self.executor.begin(step))
            size += sum(item.size for item in step.values())
        if step is None and firings:
            step = {}  # more items may have arrived meanwhile
        while firings and not self._outputs.closes_node:
            if firings[0].error is not None:
                await self.executor.perform(firings.pop(0))
                continue
            ready = list(takewhile(lambda firing: firing.error is None, firings))
            if self._class.kind_ is Kind.PROCESS:
                done = await self._process_each(ready, hops, body)
            else:
                done = await self._generate_each(ready, hops, body)
            del firings[:done]
        if self._outputs.closes_node:
            return NoMoreFirings(False, "")
        self._inbox.mark_processed()
        return step

    async def _process_each(self, firings: list[Firing], hops: HopSize, body: ThreadBody) -> int:
        """Fires on these sets in one hop. Returns the number of firings that have ended."""
        results: list[Any] = []
        raised: Exception | None
        try:
            async with self._deadline.of("firing", HOP_SECONDS):
                raised = await body.process_each([firing.node for firing in firings], results)
        except Exception as late:  # the hop was abandoned: its later changes to the list are ignored
            results = results.copy()
            raised = late if len(results) < len(firings) else None  # no body is left that could be late
        done = len(results) + (raised is not None)
        hops.did(done, of=len(firings))
        for firing, result in zip(firings, results, strict=False):
            await self.executor.finish(firing, result, None)
            if self._outputs.closes_node:
                return done
        if raised is not None:
            await self.executor.finish(firings[len(results)], None, raised)
        return done

    async def _generate_each(self, firings: list[Firing], hops: HopSize, body: ThreadBody) -> int:
        """Fires on these sets in one thread. Returns the number of firings that have ended."""
        done = 0
        async with Closing(body.generate_each(firing.node for firing in firings), self._context.log.warning) as thread:
            for firing in firings:
                firing.generators = thread
                await self.executor.perform(firing)
                done += 1
                if thread.abandoned or self._outputs.closes_node:
                    break
            hops.did(thread.done_at_once, of=len(firings))
        return done
