"""Random schedules of leases of memory: whatever processes, devices and time do, the arbiter's promises hold after every step.

The processes here are honest about sizes and slow about everything else: they hold memory for a while after their lease was taken,
and free the memory of a model some time after they have reported it as unloaded. So `Truth` is what the devices really hold.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from lanemesh.gpu.core import AGEING, TTL, ArbiterCore, Frames
from lanemesh.gpu.queue_pass import BYPASS_SECONDS, MAX_BYPASS
from lanemesh.gpu.resident import Residence
from lanemesh.times import duration, seconds_of
from lanemesh.v1 import gpu_pb2

from gpu_schedules.counted import PICK, Counted, one_of

SIZES = {"sim:0": 24, "sim:1": 16}
OWNERS = ("p", "q")
MODELS = {"": 0, "a": 6, "b": 8, "c": 14}
"""Memory of each model; the peak of a lease is 2 more."""


CHOICES: dict[str, Sequence[Any]] = {
    "device": ["", "", *SIZES],
    "count": [0, 0, 0, 2],
    "model": ["", "a", "a", "b", "c"],
    "memory": [0, 2, 2, 5, 5, 11],
    "owner": OWNERS,
    "exclusive": [False] * 7 + [True],
    "priority": [0, 0, 0, 1],
    "preempts": [False, False, False, True],
    "wait": [5.0, 300.0],
    "evicts": [""] * 14 + ["size", "whole"],
}
REQUESTS = math.prod(len(choices) for choices in CHOICES.values())


def request(code: int) -> gpu_pb2.LeaseAcquire:
    """The request with a number below `REQUESTS`."""
    asked: dict[str, Any] = {}
    for name, choices in CHOICES.items():
        code, index = divmod(code, len(choices))
        asked[name] = choices[index]
    if asked["evicts"] == "whole":  # a second attempt whose memory is unknown
        asked |= {"model": "", "memory": 0}
    size = MODELS[asked["model"]] or asked["memory"]
    return gpu_pb2.LeaseAcquire(
        device="" if asked["count"] else asked["device"],
        count=asked["count"],
        memory_bytes=size,
        peak_bytes=size + 2 if asked["model"] else size,
        model=asked["model"],
        owner=asked["owner"],
        exclusive=asked["exclusive"] or bool(asked["evicts"]),
        evicts=bool(asked["evicts"]),
        priority=asked["priority"],
        preempts=asked["preempts"],
        wait_timeout=duration(asked["wait"]),
    )


def model_of(asked: gpu_pb2.LeaseAcquire) -> str:
    """The model that may stay after a lease. That of several devices does not."""
    return asked.model if asked.count < 2 else ""


@dataclass
class Truth:
    """What the devices really hold."""

    leases: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """By lease and device: its process and working memory, until the process has freed it."""
    models: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """By device, process and name: memory, until the process has freed it."""

    def used(self, device: str) -> dict[str, int]:
        found: defaultdict[str, int] = defaultdict(int)
        for (_, at), (owner, size) in self.leases.items():
            found[owner] += size if at == device else 0
        for (at, owner, _), size in self.models.items():
            found[owner] += size if at == device else 0
        return dict(found)


class MemorySchedules(Counted):
    """Keeps an account of its own, from the frames alone."""

    def __init__(self) -> None:
        super().__init__()
        self.core = ArbiterCore(gpu_pb2.Device(id=name, memory_bytes=size) for name, size in SIZES.items())
        self.truth = Truth()
        self.now = 0.0
        self.count = 0
        self.asked: dict[str, gpu_pb2.LeaseAcquire] = {}
        self.asked_at: dict[str, float] = {}
        self.lost_at: dict[str, float] = {}
        self.passed: Counter[str] = Counter()
        """How often each request was passed while it was the first of all."""
        self.waiting: list[str] = []
        self.held: dict[str, list[str]] = {}
        self.yielded: dict[str, list[str]] = {}
        self.lost: set[str] = set()
        self.stale: set[str] = set()
        """Leases that were taken, whose processes do not know it yet."""
        self.tokens = dict.fromkeys(SIZES, 0)
        self.kept: dict[str, list[str]] = {}
        """Leases whose streams go on for a model, with their devices."""
        self.unloading: set[tuple[str, str, str]] = set()
        """Device, process and model that are to be unloaded, or are unloaded and not seen as free yet."""
        self.parked: set[str] = set()
        """Leases that have yielded, and can offload their models."""
        self.asks: dict[str, int] = {}
        """The number of the latest request to offload its model, by lease."""
        self.done: set[int] = set()
        """Requests to offload that were answered by one lease."""
        self.offloading: set[tuple[str, str, str]] = set()
        """What is to be offloaded, or is offloaded and not seen as free yet."""
        self.slow: set[tuple[str, str, str]] = set()
        """What is reported as offloaded, and still there."""
        self.gone: set[str] = set()
        """Devices that do not answer."""
        self.observe_all()

    def observe_all(self) -> None:
        for device in SIZES:
            self.take(self.core.observe(self.now, device, self.truth.used(device), 0))

    def take(self, frames: Frames) -> None:
        for lease, frame in frames:
            self.frames[str(frame.WhichOneof("frame"))] += 1
            match frame.WhichOneof("frame"):
                case "granted":
                    self.take_grant(lease, frame.granted)
                case "yielded":
                    if lease in self.held:
                        self.yielded[lease] = self.held.pop(lease)
                        self.free(lease)
                case "revoked":
                    if lease in self.waiting:
                        self.waiting.remove(lease)
                    if self.held.pop(lease, None) and frame.revoked.reason != "released":
                        self.stale.add(lease)
                    self.kept.pop(lease, None)
                    if self.yielded.pop(lease, None):
                        self.forget_offloads()
                case "unload":
                    self.take_unload(lease)
                case "offload":
                    self.take_offload(lease, frame.offload.number)

    def take_unload(self, keeper: str) -> None:
        asked = self.asked[keeper]
        for device in self.kept[keeper]:
            key = device, asked.owner, model_of(asked)
            assert key in self.truth.models, "only what is loaded is unloaded"
            if key in self.leaving(device) - self.offloading:
                assert not any(self.uses(lease, key) for lease in [*self.held, *self.yielded]), (
                    "no model in use is unloaded"
                )
                self.unloading.add(key)

    def take_offload(self, lease: str, number: int) -> None:
        key = self.key(lease)
        assert key in self.truth.models, "only what is loaded is offloaded"
        users = [other for other in [*self.held, *self.yielded] if self.uses(other, key)]
        assert lease in users
        assert self.parked.issuperset(users), "no model is offloaded that a lease works with, or that does not offer it"
        self.asks[lease] = number
        self.offloading.add(key)

    def key(self, lease: str) -> tuple[str, str, str]:
        """The device, process and model of a lease of one device."""
        asked = self.asked[lease]
        (device,) = self.held.get(lease) or self.yielded[lease]
        return device, asked.owner, model_of(asked)

    def leaving(self, device: str) -> set[tuple[str, str, str]]:
        return {(device, each.owner, each.model) for each in self.core.memory[device].leaving}

    def uses(self, lease: str, key: tuple[str, str, str]) -> bool:
        asked = self.asked[lease]
        devices = self.held.get(lease, []) + self.yielded.get(lease, [])
        return (asked.owner, model_of(asked)) == key[1:] and key[0] in devices

    def take_grant(self, lease: str, granted: gpu_pb2.LeaseGranted) -> None:
        if lease in self.held:
            return
        asked = self.asked[lease]
        devices = [share.device.id for share in granted.shares]
        assert lease not in self.lost, "nothing is granted to a lost stream"
        assert len(devices) == len(set(devices)) == max(asked.count, 1), "together or not at all"
        if lease in self.yielded:
            assert devices == self.yielded.pop(lease), "a lease resumes where its memory is"
        elif lease in self.waiting:
            before = self.waiting[: self.waiting.index(lease)]
            alike = [one for one in before if self.alike(one, lease) and one not in self.lost]
            assert not alike, "first come first served"
            self.check_bypass(lease, devices)
            self.waiting.remove(lease)
        for share in granted.shares:
            self.check_share(lease, asked, share)
        self.held[lease] = devices

    def check_bypass(self, lease: str, devices: list[str]) -> None:
        """The first request of all is passed for a while, and some times."""
        first = min(self.waiting, key=lambda one: (self.asked_at[one] - AGEING * self.asked[one].priority, int(one)))
        if first != lease and not self.eligible(first).isdisjoint(devices):
            self.passed[first] += 1
            assert self.passed[first] <= MAX_BYPASS, "no request is passed for ever"
            assert self.now - self.asked_at[first] < BYPASS_SECONDS, "no request is passed for long"

    def eligible(self, lease: str) -> set[str]:
        asked = self.asked[lease]
        return {name for name, size in SIZES.items() if asked.device in ("", name) and asked.peak_bytes <= size}

    def alike(self, one: str, other: str) -> bool:
        names = ("priority", "device", "count", "memory_bytes", "peak_bytes", "model", "owner", "exclusive", "evicts")
        return all(getattr(self.asked[one], name) == getattr(self.asked[other], name) for name in names)

    def check_share(self, lease: str, asked: gpu_pb2.LeaseAcquire, share: gpu_pb2.LeaseShare) -> None:
        device = share.device.id
        assert device not in self.gone, "nothing is granted on a device that does not answer"
        if asked.evicts:
            models = self.core.memory[device].residents.values()
            idle = [each.model for each in models if not each.users and each.model != model_of(asked)]
            assert not idle, "other idle models are unloaded first"
        assert share.fencing_token > self.tokens[device], "tokens only grow"
        self.tokens[device] = share.fencing_token
        others = [one for one, devices in self.held.items() if device in devices]
        assert not (self.exclusive(asked) and others), "an exclusive lease is alone"
        assert not any(self.exclusive(self.asked[one]) for one in others), "an exclusive lease stays alone"
        key = device, asked.owner, model_of(asked)
        assert key not in self.unloading, "no model comes back while it is unloaded"
        assert key not in self.offloading, "no model comes back while it is offloaded"
        self.slow.discard(key)
        self.parked.discard(lease)
        working = asked.peak_bytes - asked.memory_bytes if model_of(asked) else asked.peak_bytes or asked.memory_bytes
        self.truth.leases[lease, device] = asked.owner, working
        if model_of(asked):
            self.truth.models.setdefault(key, asked.memory_bytes)

    @staticmethod
    def exclusive(asked: gpu_pb2.LeaseAcquire) -> bool:
        return asked.exclusive or not asked.memory_bytes

    def free(self, lease: str) -> None:
        """The process has freed the working memory of a lease."""
        for key in [key for key in self.truth.leases if key[0] == lease]:
            del self.truth.leases[key]

    @initialize(codes=st.lists(st.integers(0, REQUESTS - 1), min_size=2, max_size=8))
    def load(self, codes: list[int]) -> None:
        """Some models are loaded at the beginning."""
        for code in codes:
            lease = self.acquire(code)
            if lease in self.held:
                self.end(lease, stays=True)

    @rule(code=st.integers(0, REQUESTS - 1))
    def ask(self, code: int) -> None:
        self.acquire(code)

    def acquire(self, code: int) -> str:
        self.count += 1
        lease = str(self.count)
        self.asked[lease], self.asked_at[lease] = request(code), self.now
        self.waiting.append(lease)
        self.take(self.core.acquire(self.now, lease, self.asked[lease]))
        return lease

    @precondition(lambda self: self.held)
    @rule(pick=PICK, stays=st.sampled_from([True, True, True, False]))
    def release(self, pick: int, stays: bool) -> None:
        reachable = sorted(set(self.held) - self.lost)
        if not reachable:
            return
        self.end(one_of(reachable, pick), stays=stays)

    def end(self, lease: str, *, stays: bool) -> None:
        asked, devices = self.asked[lease], self.held.pop(lease)
        self.free(lease)
        if model_of(asked) and not stays:
            for device in devices:
                key = device, asked.owner, model_of(asked)
                users = [other for other in [*self.held, *self.yielded] if self.uses(other, key)]
                keepers = [other for other in self.kept if self.keeps(other, key)]
                if not users and not keepers:
                    self.truth.models.pop(key, None)
        frames = self.core.release(self.now, lease, resident_bytes=asked.memory_bytes if asked.model and stays else 0)
        if (lease, "kept") in [(name, frame.WhichOneof("frame")) for name, frame in frames]:
            residents = {
                device: self.core.memory[device].residents.get((asked.owner, model_of(asked))) for device in devices
            }
            self.kept[lease] = [at for at, resident in residents.items() if resident and resident.keeper == lease]
        self.take(frames)

    def keeps(self, lease: str, key: tuple[str, str, str]) -> bool:
        asked = self.asked[lease]
        return (asked.owner, model_of(asked)) == key[1:] and key[0] in self.kept[lease]

    @precondition(lambda self: self.waiting)
    @rule(pick=PICK)
    def give_up(self, pick: int) -> None:
        lease = one_of(self.waiting, pick)
        self.take(self.core.release(self.now, lease))
        assert lease not in self.waiting

    @precondition(lambda self: self.held)
    @rule(pick=PICK, offloads=st.sampled_from([True, True, False]))
    def pause(self, pick: int, offloads: bool) -> None:
        lease = one_of(sorted(self.held), pick)
        if lease not in self.lost and model_of(self.asked[lease]):
            self.free(lease)  # an honest process frees its working memory before it yields
            self.park(lease, offloads=offloads)

    def park(self, lease: str, *, offloads: bool) -> None:
        devices = self.held.get(lease) or self.yielded[lease]
        if offloads and len(devices) == 1:
            self.parked.add(lease)
        self.take(self.core.pause(self.now, lease, offloads=offloads))

    @precondition(lambda self: self.asks)
    @rule(pick=PICK, how=st.sampled_from(["at once", "at once", "later", "fails"]))
    def offload(self, pick: int, how: str) -> None:
        """A process offloads a model and reports it, or that it has failed; its memory is free at once, or later. Other leases
        for the model report the same later."""
        lease = one_of(sorted(self.asks), pick)
        if lease in self.yielded and lease not in self.lost:
            self.answer(lease, how)
        else:
            del self.asks[lease]

    def answer(self, lease: str, how: str) -> None:
        number, key = self.asks.pop(lease), self.key(lease)
        again = number in self.done
        self.done.add(number)
        if again:
            before = self.core.memory[key[0]].leaving
            self.take(self.core.offloaded(self.now, lease, number))
            assert self.core.memory[key[0]].leaving == before, "a request is answered once"
            return
        if how == "fails":
            self.offloading.discard(key)
            self.parked -= {other for other in self.parked if other in self.yielded and self.key(other) == key}
        elif how == "later":
            self.slow.add(key)
        else:
            self.truth.models.pop(key, None)
        self.take(self.core.offloaded(self.now, lease, number, certain=how != "fails"))

    @precondition(lambda self: self.yielded)
    @rule(pick=PICK, unaware=st.booleans())
    def leave(self, pick: int, unaware: bool) -> None:
        """A lease that has yielded ends. A model that it leaves in host memory, or on its way there, is unloaded. `unaware`: the
        request to offload it is still under way to the process, which goes on with the model for another stream."""
        lease = one_of(sorted(self.yielded), pick)
        if lease in self.lost:
            return
        asked, devices = self.asked[lease], self.yielded.pop(lease)
        for device in devices:
            key = device, asked.owner, model_of(asked)
            users = [other for other in [*self.held, *self.yielded] if self.uses(other, key)]
            keepers = [other for other in self.kept if self.keeps(other, key)]
            if not users and not keepers:
                self.truth.models.pop(key, None)
            resident = self.core.memory[device].residents.get((asked.owner, model_of(asked)))
            if resident is None or (unaware and resident.residence is Residence.OFFLOADING):
                continue
            if not users and (resident.is_leaving or resident.host_bytes):
                self.truth.models.pop(key, None)
                for other in keepers:
                    if other not in self.lost:
                        del self.kept[other]
                        self.take(self.core.release(self.now, other))
        self.release_yielded(lease)

    def release_yielded(self, lease: str) -> None:
        """A lease ends that may have yielded. What it was asked to offload is not offloaded for it any more."""
        frames = self.core.release(self.now, lease)
        self.forget_offloads()
        self.take(frames)

    def forget_offloads(self) -> None:
        """A model that no lease uses any more is not offloaded, but unloaded. Until then it may be loaded again beside itself."""
        moving = self.offloading | self.slow
        used = {key for key in moving if any(self.uses(other, key) for other in self.yielded)}
        self.offloading &= used
        self.slow &= used
        for key in sorted(moving - used):
            if key[1:] not in self.core.memory[key[0]].residents and (size := self.truth.models.pop(key, 0)):
                self.truth.models[key[0], key[1], f"offloaded before {self.count}"] = size

    @precondition(lambda self: self.yielded)
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        lease = one_of(sorted(self.yielded), pick)
        if lease not in self.lost:
            self.take(self.core.resume(self.now, lease))

    @precondition(lambda self: self.held or self.yielded or self.kept)
    @rule(pick=PICK)
    def lose(self, pick: int) -> None:
        lease = one_of(sorted([*self.held, *self.yielded, *self.kept]), pick)
        if lease not in self.lost:
            self.lost.add(lease)
            self.lost_at[lease] = self.now
            self.take(self.core.lose(self.now, lease))

    @rule(seconds=st.sampled_from([0.1, 3.0, TTL / 2, TTL]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for lease in sorted(set(self.held) - self.lost):
            self.take(self.core.keepalive(self.now, lease))
        frames = self.core.tick(self.now)
        alive = {status.lease_id for device in self.core.status(self.now) for status in device.leases}
        for lease in [
            lease for lease in self.lost if lease not in alive
        ]:  # it was taken, and its process does not know it
            if self.held.pop(lease, None):
                self.stale.add(lease)
            self.yielded.pop(lease, None)
        self.forget_offloads()
        kept = {each.keeper for memory in self.core.memory.values() for each in memory.residents.values()}
        for lease in [lease for lease in self.lost if lease in self.kept and lease not in kept]:
            self.abandon(lease)
        self.take(frames)
        for lease in self.waiting:
            ends = self.asked_at[lease] + seconds_of(self.asked[lease].wait_timeout)
            assert self.now < ends, "every wait ends by its time limit"
        for lease in self.lost & {*self.held, *self.yielded}:
            assert self.now < self.lost_at[lease] + TTL, "every grant ends by the time to live"

    def abandon(self, keeper: str) -> None:
        """The arbiter does not wait any longer for a process that keeps a model."""
        asked = self.asked[keeper]
        for device in self.kept.pop(keeper):
            key = device, asked.owner, model_of(asked)
            resident = self.core.memory[device].residents.get(key[1:])
            if resident is None or resident.users.isdisjoint({*self.held, *self.yielded}):
                self.leave_behind(key, keeper)

    def leave_behind(self, key: tuple[str, str, str], keeper: str) -> None:
        """What is left of a model is not that model any more, so its process may load it again beside it."""
        self.unloading.discard(key)
        if size := self.truth.models.pop(key, 0):
            self.truth.models[key[0], key[1], f"left by {keeper}"] = size

    @precondition(lambda self: self.stale)
    @rule(pick=PICK)
    def stop_stale(self, pick: int) -> None:
        lease = one_of(sorted(self.stale), pick)
        if lease not in self.held:
            self.stale.discard(lease)
            self.free(lease)

    @precondition(lambda self: self.kept)
    @rule(pick=PICK, how=st.sampled_from(["at once", "later", "fails"]))
    def unload(self, pick: int, how: str) -> None:
        """A process unloads a model, asked or not, and reports it, or that it has failed; its memory is free at once, or later."""
        lease = one_of(sorted(self.kept), pick)
        asked = self.asked[lease]
        keys = [(device, asked.owner, model_of(asked)) for device in self.kept[lease]]
        if lease in self.lost or any(self.uses(other, key) for other in [*self.held, *self.yielded] for key in keys):
            return
        del self.kept[lease]
        for key in keys:
            if not any(self.keeps(other, key) for other in self.kept):
                if how == "fails":
                    self.leave_behind(key, lease)
                    continue
                self.unloading.add(key)
                if how == "at once":
                    self.truth.models.pop(key, None)
        self.take(self.core.release(self.now, lease, certain=how != "fails"))

    @rule(device=st.sampled_from(sorted(SIZES)))
    def vanish(self, device: str) -> None:
        """A device does not answer any more, or answers again."""
        if device in self.gone:
            self.observe(device, 0)
            return
        self.gone.add(device)
        self.take(self.core.vanish(self.now, device))

    @rule()
    def catch_up(self) -> None:
        """The memory of models that were unloaded is free."""
        kept = {
            (device, self.asked[lease].owner, model_of(self.asked[lease]))
            for lease, at in self.kept.items()
            for device in at
        }
        for key in self.slow:
            self.truth.models.pop(key, None)
        self.slow.clear()
        for key in [key for key in self.truth.models if key not in kept]:
            if not any(self.uses(lease, key) for lease in [*self.held, *self.yielded]):
                del self.truth.models[key]

    @rule(device=st.sampled_from(sorted(SIZES)), foreign=st.sampled_from([0, 0, 0, 3]))
    def observe(self, device: str, foreign: int) -> None:
        self.unloading = {key for key in self.unloading if key[0] != device or key in self.truth.models}
        self.offloading = {key for key in self.offloading if key[0] != device or key in self.truth.models}
        free = SIZES[device] - sum(self.truth.used(device).values())
        self.gone.discard(device)
        self.take(self.core.observe(self.now, device, self.truth.used(device), min(foreign, max(free, 0))))
        self.unloading = {key for key in self.unloading if key[0] != device or key in self.leaving(device)}
        self.offloading = {key for key in self.offloading if key[0] != device or key in self.leaving(device)}

    @rule()
    def clock_falls(self) -> None:
        """The clock is set back for a moment."""
        self.take(self.core.tick(self.now - 2 * TTL))

    @invariant()
    def never_over_capacity(self) -> None:
        for device, size in SIZES.items():
            assert sum(self.truth.used(device).values()) <= size, f"{device} holds more than it has"

    @invariant()
    def the_account_has_all_that_is_held(self) -> None:
        for device, memory in self.core.memory.items():
            assert set(memory.working) == {lease for lease, devices in self.held.items() if device in devices}

    @invariant()
    def what_is_offloaded_has_leases(self) -> None:
        for memory in self.core.memory.values():
            moving = [each for each in memory.residents.values() if each.residence is Residence.OFFLOADING]
            assert all(each.users for each in moving), "a lease answers each request to offload a model"

    @invariant()
    def what_waits_has_a_deadline(self) -> None:
        if self.waiting:
            assert self.core.next_deadline() is not None

    def end_all(self, *, unload_all: bool) -> None:
        """All holders end. Models are unloaded: all, or those that the arbiter has asked for and those of lost processes."""
        for lease in sorted({*self.held, *self.yielded}):
            self.free(lease)
            self.held.pop(lease, None)
            self.yielded.pop(lease, None)
            self.release_yielded(lease)
        self.do_what_is_asked(unload_all=unload_all)

    def do_what_is_asked(self, *, unload_all: bool) -> None:
        """Models are unloaded, and what ended leases have left behind is freed."""
        for lease in sorted(self.kept):
            asked = self.asked[lease]
            wanted = any((device, asked.owner, model_of(asked)) in self.leaving(device) for device in self.kept[lease])
            if unload_all or wanted or lease in self.lost:
                del self.kept[lease]
                self.take(self.core.release(self.now, lease))
        for lease in list(self.stale):
            self.free(lease)
        self.catch_up()
        for device in SIZES:
            self.observe(device, 0)

    def yield_all(self) -> None:
        """All holders of one device and a model yield and offer to offload it; the others end. They do what they are asked for."""
        for lease in sorted({*self.held, *self.yielded}):
            self.free(lease)
            if lease not in self.lost and model_of(self.asked[lease]):
                self.park(lease, offloads=True)
            else:
                self.held.pop(lease, None)
                self.yielded.pop(lease, None)
                self.release_yielded(lease)
        for lease in sorted(set(self.asks) & set(self.yielded)):
            self.answer(lease, "at once")
        self.asks.clear()

    def teardown(self) -> None:
        """While holders end, or yield, and do what they are asked for, each request is granted, those for several devices too. Then
        no memory is in use."""
        for _ in range((4 * len(self.waiting) + len(self.kept) + 4) * (self.count % 2)):
            if not self.waiting:
                break
            self.yield_all()
            self.do_what_is_asked(unload_all=False)
        assert not (self.waiting and self.count % 2), "requests that wait are granted when holders yield"
        for _ in range(2 * len(self.waiting) + len(self.kept) + 1):
            if not self.waiting:
                break
            self.end_all(unload_all=False)
        assert not self.waiting, "requests that wait are granted when holders end"
        for _ in range(2):
            self.end_all(unload_all=True)
        for memory in self.core.memory.values():
            assert (memory.free, memory.residents, memory.lingering) == (memory.capacity, {}, {})
