"""What the arbiter reports of its state: devices, leases, and why a request waits. Pure functions over the state of the core."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lanemesh.gpu import frames
from lanemesh.gpu.devices import size_text
from lanemesh.gpu.memory import DeviceMemory
from lanemesh.gpu.pace import Pace
from lanemesh.gpu.requests import LeaseRecord, State
from lanemesh.gpu.resident import Residence
from lanemesh.times import duration, span
from lanemesh.v1 import gpu_pb2

MAX_NAMED = 3
"""Most devices, models and requests that one sentence names."""


@dataclass(frozen=True, slots=True)
class ArbiterView:
    """The state of the core, which it changes."""

    devices: Mapping[str, gpu_pb2.Device]
    memory: Mapping[str, DeviceMemory]
    leases: Mapping[str, LeaseRecord]
    queue: Sequence[LeaseRecord]
    pace: Pace


def device_statuses(view: ArbiterView, now: float) -> list[gpu_pb2.DeviceStatus]:
    """Each device with its leases (the holders' first), its memory, its models and its waiting requesters, in the order of the
    queue."""
    by_state = sorted(view.leases.values(), key=lambda lease: lease.state is not State.HELD)
    return [
        gpu_pb2.DeviceStatus(
            device=device,
            leases=[
                lease_status(now, lease, name)
                for lease in by_state
                if name in lease.devices and lease.state is not State.KEPT
            ],
            waiting=[lease.holder for lease in view.queue if name in lease.eligible],
            memory=_memory_status(view.memory[name]),
            models=_models(view.memory[name], now),
        )
        for name, device in view.devices.items()
    ]


def lease_statuses(view: ArbiterView, now: float, run_id: str = "") -> list[gpu_pb2.LeaseStatus]:
    """Leases that are held, yielded or kept, one entry a device, and then requests in the order of the queue."""
    having = [lease for lease in view.leases.values() if lease.state not in (State.WAITING, State.RESUMING)]
    having.sort(key=lambda lease: list(State).index(lease.state))
    statuses = [lease_status(now, lease, device) for lease in having for device in lease.devices]
    statuses += [waiter_status(view, lease, place, now) for place, lease in enumerate(view.queue, 1)]
    return [status for status in statuses if not run_id or status.holder.run_id == run_id]


def explanations(
    view: ArbiterView, now: float, *, lease_id: str = "", run_id: str = "", component: str = ""
) -> list[gpu_pb2.LeaseExplanation]:
    """Why requests wait that meet all conditions; with a lease id also a lease that does not wait."""
    found = [
        gpu_pb2.LeaseExplanation(
            lease=waiter_status(view, lease, place, now),
            facts=facts(view, lease, now),
            holders=holding(view, lease, now),
        )
        for place, lease in enumerate(view.queue, 1)
        if lease_id in ("", lease.id)
        and run_id in ("", lease.holder.run_id)
        and component in ("", lease.holder.component)
    ]
    lease = view.leases.get(lease_id)
    if lease is not None and not found:
        found = [gpu_pb2.LeaseExplanation(lease=lease_status(now, lease, device)) for device in lease.devices[:1]]
    return found


def lease_status(now: float, lease: LeaseRecord, device: str) -> gpu_pb2.LeaseStatus:
    """A lease that has a device, or had it before it yielded."""
    return gpu_pb2.LeaseStatus(
        lease_id=lease.id,
        holder=lease.holder,
        device=device,
        age=duration(now - lease.held_since),
        fencing_token=lease.tokens.get(device, 0),
        yielded=lease.state is not State.HELD,
        state=f"LEASE_STATE_{lease.state.name}",  # type: ignore[arg-type]
        memory_bytes=lease.demand.memory,
        peak_bytes=lease.demand.peak,
        model=lease.demand.model,
        purpose=lease.purpose,
        priority=lease.priority,
    )


def waiter_status(view: ArbiterView, lease: LeaseRecord, place: int, now: float) -> gpu_pb2.LeaseStatus:
    """A request at a place of the queue."""
    status = lease_status(now, lease, lease.named)
    status.position, status.reason = place, reason(view, lease, now)
    status.age.CopyFrom(duration(now - lease.asked_at))
    seconds = eta(view, lease, len(_ahead(view, lease)), now)
    if seconds is not None:
        status.eta.CopyFrom(duration(seconds))
    return status


def holding(view: ArbiterView, waiter: LeaseRecord, now: float) -> list[gpu_pb2.LeaseStatus]:
    """The leases that a request waits for."""
    return [
        lease_status(now, lease, device)
        for device in waiter.eligible
        for lease in (view.leases[name] for name in view.memory[device].working)
    ]


def eta(view: ArbiterView, waiter: LeaseRecord, ahead: int, now: float) -> float | None:
    """Seconds until a request with so many before it is granted, by the past holders of its devices; None: unknown."""
    estimates = []
    for device in waiter.eligible:
        ages = [now - view.leases[name].held_since for name in view.memory[device].working]
        estimate = view.pace.estimate(device, ahead, ages)
        if estimate is not None:
            estimates.append(estimate)
    return sorted(estimates)[waiter.count - 1] if len(estimates) >= waiter.count else None


def reason(view: ArbiterView, waiter: LeaseRecord, now: float) -> str:
    """Why a request waits, in one sentence."""
    shown = list(_each_device(view, waiter, waiter.eligible[:MAX_NAMED], now))
    more = len(waiter.eligible) - MAX_NAMED
    return "; ".join([*shown, *([f"and {more} more devices"] if more > 0 else [])])


def in_vain(view: ArbiterView, waiter: LeaseRecord, now: float) -> str:
    """What was in the way of a request whose wait took too long: the holders of its devices, and what else there is."""
    holders = holding(view, waiter, now)
    texts = [frames.leases_text(holders)] if holders else []
    if not holders or set(obstacle_kinds(view, waiter, now)) != {"exclusive"}:
        texts.insert(0, reason(view, waiter, now))
    return "; ".join([*texts, *_staying(view, waiter)])


def _staying(view: ArbiterView, waiter: LeaseRecord) -> Iterator[str]:
    """The models in the way that no one works with and that stay all the same, and what to do about it."""
    for device in waiter.eligible[:MAX_NAMED]:
        memory = view.memory[device]
        fixed = [
            f'"{each.model}" ({size_text(each.size)}{", whose offloading has failed" if each.offload_failed else ""})'
            for each in memory.residents.values()
            if each.users and each.users.isdisjoint(memory.working) and not each.users <= each.parked
        ]
        if fixed and memory.need(waiter.demand) > memory.free + memory.kept.get(waiter.id, 0):
            yield (
                f"on {device} stay the models of firings that wait themselves, and are not offloaded: "
                f"{', '.join(fixed[:MAX_NAMED])}. Give their classes offload_model and restore_model, or them larger lanes, so "
                "that they end, or declare less memory, if less is used"
            )


def obstacle_kinds(view: ArbiterView, waiter: LeaseRecord, now: float) -> tuple[str, ...]:
    """What is in the way at each device, without ages and sizes: it changes when the reason does."""
    return tuple(_obstacle(view, waiter, view.memory[device], now)[0] for device in waiter.eligible[:MAX_NAMED])


def facts(view: ArbiterView, waiter: LeaseRecord, now: float) -> list[str]:
    """What is in the way of a request at each device, and in the queue."""
    found = list(_each_device(view, waiter, waiter.eligible, now))
    if waiter.count > 1:
        found.append(f"it needs {waiter.count} devices together, and holds none while it waits")
    if not waiter.connected:
        found.append("its stream is lost: nothing is granted to it until it is reclaimed")
    ahead = _ahead(view, waiter)
    if ahead:
        names = ", ".join(frames.holder_text(lease.holder) for lease in ahead[:MAX_NAMED])
        more = f" and {len(ahead) - MAX_NAMED} more" if len(ahead) > MAX_NAMED else ""
        found.append(f"before it in the queue: {names}{more}")
    if waiter.bypassed:
        found.append(f"{waiter.bypassed} later requests that fit were granted before it")
    return found


def _ahead(view: ArbiterView, waiter: LeaseRecord) -> list[LeaseRecord]:
    """The requests before another one that want a device of its own."""
    ahead: list[LeaseRecord] = []
    for lease in view.queue:
        if lease is waiter:
            break
        if not set(lease.eligible).isdisjoint(waiter.eligible):
            ahead.append(lease)
    return ahead


def _each_device(view: ArbiterView, waiter: LeaseRecord, devices: Collection[str], now: float) -> Iterator[str]:
    for device in devices:
        yield f"{device}: {_obstacle(view, waiter, view.memory[device], now)[1]}"


def _obstacle(view: ArbiterView, waiter: LeaseRecord, memory: DeviceMemory, now: float) -> tuple[str, str]:
    """What is in the way of a request at a device: its kind, and in words."""
    demand, device = waiter.demand, memory.device.id
    if memory.gone:
        return "gone", "the device does not answer any more"
    if memory.is_leaving(demand):
        how = "offloaded, and is restored" if memory.is_offloading(demand) else "unloaded, and is loaded again"
        return "own-model", f'its model "{demand.model}" is being {how} after that'
    working = [lease_status(now, view.leases[name], device) for name in memory.working]
    if memory.exclusive or (demand.exclusive and working):
        alone = "" if memory.exclusive else "it needs the device alone, and "
        return "exclusive", alone + frames.leases_text(working)
    leaving = ", ".join(
        f'"{each.model}" ({size_text(each.size)}, asked {span(now - each.since)} ago)'
        for each in memory.leaving[:MAX_NAMED]
    )
    how = "unloaded or offloaded" if any(each.users for each in memory.leaving) else "unloaded"
    unloading = f"; being {how}: {leaving}" if leaving else ""
    kind = f"unloading {len(memory.leaving)}" if leaving else "memory"
    need, free = memory.need(demand), memory.free + memory.kept.get(waiter.id, 0)
    if demand.peak and need > free:
        return kind, f"it needs {size_text(need)}, and {_free_text(memory, free)}{unloading}"
    if not memory.fits(waiter.id, demand):
        return kind, f"all idle models are unloaded first{unloading}"
    return "queue", "it fits, and earlier requests go first"


def _free_text(memory: DeviceMemory, free: int) -> str:
    """The free memory of a device, and what has the rest."""
    status = _memory_status(memory)
    parts = (
        ("leases have", status.leased),
        ("models have", status.models),
        ("ended leases may have", status.lingering),
        ("more than was declared is", status.excess),
        ("other processes have", status.foreign),
    )
    rest = ", ".join(f"{what} {size_text(size)}" for what, size in parts if size)
    return f"{size_text(max(free, 0))} of {size_text(memory.capacity)} are free" + (f" ({rest})" if rest else "")


def _memory_status(memory: DeviceMemory) -> gpu_pb2.MemoryStatus:
    return gpu_pb2.MemoryStatus(
        free=max(memory.free, 0),
        leased=sum(memory.working.values()) + sum(memory.kept.values()),
        models=sum(resident.size for resident in memory.residents.values()),
        lingering=sum(memory.lingering.values()),
        excess=memory.excess,
        foreign=memory.foreign,
        observed=memory.observed,
    )


def _models(memory: DeviceMemory, now: float) -> list[gpu_pb2.ModelStatus]:
    statuses = []
    for resident in memory.residents.values():
        status = gpu_pb2.ModelStatus(
            model=resident.model,
            owner=resident.owner,
            memory_bytes=resident.size,
            reload_time=duration(resident.reload_seconds),
            unloading=resident.is_leaving,
            offloaded=resident.residence is Residence.OFFLOADED,
        )
        if not resident.users:
            status.idle.CopyFrom(duration(now - resident.last_used))
        statuses.append(status)
    return statuses
