"""Simulated memory, and what is made of what devices show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lanemesh.gpu import OutOfMemory
from lanemesh.gpu.memory_use import is_out_of_memory
from lanemesh.gpu.observing import Reading, attribute
from lanemesh.gpu.simulated import FOREIGN, SimulatedMemory

MIB = 1 << 20


@pytest.fixture(params=["own", "shared"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> SimulatedMemory:
    return SimulatedMemory({"sim:0": 100 * MIB}, tmp_path if request.param == "shared" else None)


def test_memory_is_taken_and_freed(memory: SimulatedMemory) -> None:
    with memory.allocate("sim:0", "60MiB"):
        assert memory.used("sim:0") == {os.getpid(): 60 * MIB}
        with pytest.raises(OutOfMemory, match="tried to allocate 50 MiB, 40 MiB of 100 MiB are free"):
            memory.allocate("sim:0", "50MiB")
    assert memory.used("sim:0") == {}


def test_fragmented_memory_has_no_large_piece(memory: SimulatedMemory) -> None:
    blocks = [memory.allocate("sim:0", "20MiB") for _ in range(5)]
    blocks[1].free()
    blocks[3].free()
    with pytest.raises(OutOfMemory, match="the largest piece is 20 MiB"):
        memory.allocate("sim:0", "30MiB", contiguous=True)
    scattered = memory.allocate("sim:0", "30MiB")
    assert memory.used("sim:0") == {os.getpid(): 90 * MIB}
    scattered.free()
    assert memory.used("sim:0") == {os.getpid(): 60 * MIB}


def test_processes_share_a_folder(tmp_path: Path) -> None:
    one, other = (SimulatedMemory({"sim:0": 100 * MIB}, tmp_path) for _ in range(2))
    one.allocate("sim:0", "60MiB")
    with pytest.raises(OutOfMemory):
        other.allocate("sim:0", "60MiB")


def test_the_memory_of_a_process_that_has_ended_is_free(tmp_path: Path) -> None:
    memory = SimulatedMemory({"sim:0": 100 * MIB}, tmp_path)
    process = os.fork()
    if not process:
        memory.allocate("sim:0", "60MiB")
        os._exit(0)
    os.waitpid(process, 0)
    assert memory.used("sim:0") == {}


def test_an_unknown_device_is_named(memory: SimulatedMemory) -> None:
    with pytest.raises(KeyError, match="no simulated device cuda:0"):
        memory.allocate("cuda:0", 1)


def test_foreign_memory_belongs_to_no_process(memory: SimulatedMemory) -> None:
    memory.allocate("sim:0", "10MiB", process=FOREIGN)
    assert memory.used("sim:0") == {FOREIGN: 10 * MIB}


def parents(process: int) -> list[int]:
    return {11: [11, 10, 1]}.get(process, [process])


def test_memory_is_that_of_the_process_with_leases_or_of_a_child_of_it() -> None:
    reading = Reading(total=100, by_process={10: 20, 11: 5, 30: 40})
    used, foreign = attribute(reading, ["10-a", "20-b"], lambda owner: 0, parents)
    assert (used, foreign) == ({"10-a": 25}, 75)


def test_several_owners_of_a_process_get_what_they_have_declared() -> None:
    reading = Reading(total=50, by_process={10: 50})
    used, foreign = attribute(reading, ["10-a", "10-b"], {"10-a": 10, "10-b": 15}.__getitem__, parents)
    assert (used, foreign) == ({"10-a": 35, "10-b": 15}, 0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfMemory("x"), True),
        (RuntimeError("CUDA out of memory. Tried"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("x"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_known_by_its_kind_or_text(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
    outer = ValueError("outer")
    outer.__cause__ = error
    assert is_out_of_memory(outer) is expected
