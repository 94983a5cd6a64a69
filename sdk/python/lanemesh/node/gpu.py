"""The declaration of a node whose firings use a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lanemesh.faults import Code, Fault, NodeDefinitionError

MAX_DEVICES = 64
"""Most devices of one firing."""

Size = int | str | Callable[[Any], int | str]
"""Bytes, a text such as "6GiB", or a function that returns one of these for a config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Leases a GPU around each firing: `gpu = Gpu(memory="6GiB", peak="9GiB")` in a node class.

    The wait for the lease shows as the state `waiting`, and does not count for the time limit of the firing. While the SDK waits
    for the node, in an emit or for a helper, others may use the GPU. A firing that runs out of memory before it has emitted
    anything is repeated once, alone on the device and after other idle models were unloaded from it.

    If the class has `load_model(cls, config, device)`, the model stays loaded between firings, as `self.gpu_model`. All components
    of the node server with the same class and config share it. `unload_model(cls, model)` frees it when others need its memory.
    `offload_model(cls, model)` moves it to host memory and `restore_model(cls, model, device)` back: so that others may use the
    device while a firing waits.
    """

    memory: Size = 0
    """Bytes that stay allocated while the firing waits; with a model, those of the model. 0: it has the device for itself."""
    peak: Size = 0
    """Most bytes in use at a time; 0: `memory`."""
    model: str = ""
    """The name of the model that has the memory; the class's `provider` unless given, if there is a `load_model`."""
    reload_seconds: float = 1.0
    """How long it takes to load the model again."""
    device: str = ""
    """A device, such as "cuda:0"; empty: any."""
    count: int = 1
    """Number of devices, which are leased together."""
    exclusive: bool = False
    """No other lease on the device, although the memory is given."""
    priority: int = 0
    """Requests of a higher priority go first."""
    wait_timeout: float = 300.0
    """Longest wait for a lease, in seconds."""

    def __post_init__(self) -> None:
        """Raises NodeDefinitionError if a value is out of bounds."""
        if not 1 <= self.count <= MAX_DEVICES:
            raise _bad(f"count is {self.count!r}; it must be a number of devices from 1 to {MAX_DEVICES}")
        if self.device and self.count > 1:
            raise _bad("it names a device and counts several; leave device empty")
        if self.wait_timeout <= 0 or self.reload_seconds < 0:
            raise _bad("wait_timeout must be above 0, and reload_seconds not below 0")
        if self.model and not self.memory:
            raise _bad(f'it is for the model "{self.model}", but gives no memory')
        for name in ("memory", "peak"):
            size = getattr(self, name)
            if not callable(size):
                _check_size(name, size)

    @property
    def stated_bytes(self) -> int:
        """The most bytes in use at a time, if no config is needed to know them; otherwise, and for the whole device, 0."""
        from lanemesh.gpu.devices import size_of

        sizes = [size_of(size) for size in (self.memory, self.peak) if not callable(size)]
        return max(sizes) if len(sizes) == 2 and not self.exclusive else 0

    def request(self, config: Any) -> dict[str, Any]:
        """The arguments of a lease for a config, without the model."""
        return {
            "memory": self.memory(config) if callable(self.memory) else self.memory,
            "peak": self.peak(config) if callable(self.peak) else self.peak,
            "reload_seconds": self.reload_seconds,
            "device": self.device,
            "count": self.count,
            "exclusive": self.exclusive,
            "priority": self.priority,
            "wait_timeout": self.wait_timeout,
        }


def _check_size(name: str, size: Any) -> None:
    from lanemesh.gpu.devices import size_of

    try:
        size_of(size)
    except (TypeError, ValueError) as error:
        raise _bad(f"{name}: {error}") from None


def _bad(what: str) -> NodeDefinitionError:
    return NodeDefinitionError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-node", message=f"Gpu: {what}."))
