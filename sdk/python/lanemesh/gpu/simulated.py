"""The memory of simulated devices: an allocator that runs out, fragments and leaks, shared by processes through a file.

All processes that name the same folder in `LANEMESH_GPU_STATE` share the devices. Without it each process has devices of its own.
The memory of a process that has ended is free, as with a real driver.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from lanemesh.gpu.devices import VARIABLE, parse_devices, size_of, size_text
from lanemesh.gpu.memory_use import OutOfMemory

STATE = "LANEMESH_GPU_STATE"
"""The environment variable that names the folder in which processes share simulated devices."""
FOREIGN = 0
"""The process id of memory that belongs to no process of the mesh."""

_Entry = tuple[int, int, int, int]
"""Offset, size, process id and number of an allocation."""


class Allocation:
    """Memory of a simulated device; freed by `free`, or on leaving `with`."""

    def __init__(self, memory: SimulatedMemory, device: str, number: int, size: int) -> None:
        self.device = device
        self.size = size
        self._memory = memory
        self._number = number
        self._freed = False

    def free(self) -> None:
        """Frees it; a second call has no effect."""
        if not self._freed:  # a later allocation may have its number
            self._freed = True
            self._memory.free(self.device, self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()


class SimulatedMemory:
    """The memory of all simulated devices. Safe to use in several threads and processes."""

    def __init__(self, sizes: Mapping[str, int], folder: Path | None = None) -> None:
        """`sizes` are the bytes of each device. `folder` is shared with other processes; None: only this process has them."""
        self._sizes = dict(sizes)
        self._folder = folder
        self._own: dict[str, list[_Entry]] = {}
        self._lock = threading.Lock()

    def allocate(
        self, device: str, size: int | str, *, contiguous: bool = False, process: int | None = None
    ) -> Allocation:
        """Takes memory.

        Args:
            device: the device.
            size: bytes, or a text such as "6GiB".
            contiguous: it must be in one piece, so that fragmentation matters.
            process: the process that has it; this one unless given. `FOREIGN` is none of the mesh.

        Raises:
            OutOfMemory: there is not so much free memory, or no piece of it is so large.
            KeyError: there is no such device.
        """
        wanted = size_of(size)
        with self._entries(device) as entries:
            free = self._sizes[device] - sum(entry[1] for entry in entries)
            gaps = _gaps(entries, self._sizes[device])
            fitting = next((offset for offset, length in gaps if length >= wanted), None)
            if wanted > free or (contiguous and fitting is None):
                largest = max((length for _, length in gaps), default=0)
                raise OutOfMemory(
                    f"{device} is out of memory: tried to allocate {size_text(wanted)}, {size_text(max(free, 0))} of "
                    f"{size_text(self._sizes[device])} are free, the largest piece is {size_text(largest)}"
                )
            owner = os.getpid() if process is None else process
            number = 1 + max((entry[3] for entry in entries), default=0)
            if fitting is not None:
                entries.append((fitting, wanted, owner, number))
            else:
                entries.extend(_pieces(gaps, wanted, owner, number))
        return Allocation(self, device, number, wanted)

    def free(self, device: str, number: int) -> None:
        """Frees an allocation."""
        with self._entries(device) as entries:
            entries[:] = [entry for entry in entries if entry[3] != number]

    def used(self, device: str) -> dict[int, int]:
        """Bytes by process id; those of `FOREIGN` belong to no process of the mesh."""
        found: defaultdict[int, int] = defaultdict(int)
        with self._entries(device) as entries:
            for _, size, process, _ in entries:
                found[process] += size
        return dict(found)

    @contextmanager
    def _entries(self, device: str) -> Iterator[list[_Entry]]:
        """The allocations of a device, which the caller may change."""
        if device not in self._sizes:
            raise KeyError(
                f"there is no simulated device {device}; {VARIABLE} names {', '.join(self._sizes) or 'none'}"
            )
        with self._lock:
            if self._folder is None:
                yield self._own.setdefault(device, [])
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{device.replace(':', '-')}.json").open("a+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                text = file.read()
                before = [tuple(entry) for entry in json.loads(text)] if text else []
                entries: list[_Entry] = [entry for entry in before if _is_alive(entry[2])]
                yield entries
                if entries != before:
                    file.seek(0)
                    file.truncate()
                    file.write(json.dumps(entries))


def _is_alive(process: int) -> bool:
    if process == FOREIGN:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _gaps(entries: list[_Entry], size: int) -> list[tuple[int, int]]:
    """The free pieces: offset and length."""
    gaps, end = [], 0
    for offset, length, _, _ in sorted(entries):
        if offset > end:
            gaps.append((end, offset - end))
        end = max(end, offset + length)
    if size > end:
        gaps.append((end, size - end))
    return gaps


def _pieces(gaps: list[tuple[int, int]], wanted: int, owner: int, number: int) -> Iterator[_Entry]:
    """An allocation in several pieces."""
    for offset, length in gaps:
        taken = min(length, wanted)
        if taken:
            yield offset, taken, owner, number
        wanted -= taken


_memory: tuple[tuple[str, str], SimulatedMemory] | None = None


def simulated_memory() -> SimulatedMemory:
    """The memory of the devices that `LANEMESH_GPUS` names now, shared by the processes of `LANEMESH_GPU_STATE`. Raises
    `BadDeviceList` if it cannot be understood."""
    global _memory
    key = os.environ.get(VARIABLE, ""), os.environ.get(STATE, "")
    if _memory is None or _memory[0] != key:
        devices = parse_devices(key[0]) if key[0].strip() else []
        sizes = {device.id: device.memory_bytes for device in devices}
        _memory = key, SimulatedMemory(sizes, Path(key[1]) if key[1] else None)
    return _memory[1]
