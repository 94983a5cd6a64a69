"""The journal of an arbiter: what a restart knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.gpu import LeaseLost
from lanemesh.gpu import journal as gpu_journal
from lanemesh.gpu.core import ArbiterCore, Frames
from lanemesh.gpu.journal import TOKENS_AHEAD, Journal
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2

GIB = 1 << 30
TTL = 30.0


def request(memory: int = 0, model: str = "") -> gpu_pb2.LeaseAcquire:
    return gpu_pb2.LeaseAcquire(
        memory_bytes=memory * GIB, model=model, owner="p" if model else "", reload_time=duration(1)
    )


def kinds(frames: Frames, lease: str) -> list[str | None]:
    return [frame.WhichOneof("frame") for name, frame in frames if name == lease]


class Arbiter(ArbiterCore):
    """The core and its journal."""

    def __init__(self, path: Path) -> None:
        super().__init__([gpu_pb2.Device(id="sim:0", memory_bytes=24 * GIB)], ttl=TTL)
        self.journal = Journal(path)
        self.restore(0, self.journal.state)

    def write(self) -> None:
        self.journal.write(self.take_changes(), self.tokens, self.peaks)

    def restarted(self, path: Path) -> Arbiter:
        self.write()
        self.journal.close()
        return Arbiter(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


@pytest.mark.conformance("GPU-09")
def test_a_lease_goes_on_after_a_restart_and_excludes_others_meanwhile(path: Path) -> None:
    first = Arbiter(path)
    ((_, granted),) = first.acquire(0, "a", request())
    token = granted.granted.fencing_token
    second = first.restarted(path)
    assert kinds(second.acquire(1, "b", request()), "b") == ["queued"]
    frames = second.reclaim(2, "a", token)
    assert kinds(frames, "a")[0] == "granted"
    assert frames[0][1].granted.fencing_token == token
    ((_, next_grant),) = [each for each in second.release(3, "a") if each[0] == "b"]
    assert next_grant.granted.fencing_token > token


@pytest.mark.conformance("GPU-09")
def test_a_lease_that_is_not_reclaimed_expires(path: Path) -> None:
    first = Arbiter(path)
    first.acquire(0, "a", request())
    second = first.restarted(path)
    second.acquire(1, "b", request())
    assert second.next_deadline() == TTL
    assert kinds(second.tick(TTL), "b") == ["granted"]
    with pytest.raises(LeaseLost):
        second.reclaim(TTL + 1, "a", 1)


def test_yielded_leases_and_kept_models_keep_their_memory(path: Path) -> None:
    first = Arbiter(path)
    first.acquire(0, "a", request(5))
    first.pause(0, "a")
    first.acquire(0, "b", request(6, "m"))
    first.release(0, "b", resident_bytes=7 * GIB)
    first.acquire(0, "c", request(3))
    first.release(0, "c")
    second = first.restarted(path)
    memory = second.memory["sim:0"]
    assert memory.free == (24 - 5 - 7) * GIB
    assert [(each.model, each.size) for each in memory.residents.values()] == [("m", 7 * GIB)]
    assert set(second.view.leases) == {"a", "b"}
    assert kinds(second.reclaim(1, "b", 2), "b") == ["kept"]
    assert kinds(second.reclaim(1, "a", 1), "a") == ["yielded"]


def test_a_device_is_still_held_alone_after_a_restart_if_a_lease_that_yielded_it_was_granted_later(path: Path) -> None:
    first = Arbiter(path)
    first.acquire(0, "b", request())
    first.write()
    first.pause(0, "b")
    first.acquire(0, "a", request())
    first.write()
    first.pause(0, "a")
    assert kinds(first.resume(0, "b"), "b") == ["granted"]
    second = first.restarted(path)
    assert second.memory["sim:0"].exclusive == "b"
    assert kinds(second.acquire(1, "c", request(2)), "c") == ["queued"]
    assert kinds(second.release(2, "b"), "c") == ["granted"]


def test_a_device_is_still_held_alone_after_a_restart_if_a_lease_that_keeps_its_model_was_granted_later(
    path: Path,
) -> None:
    first = Arbiter(path)
    first.acquire(0, "b", request())
    first.write()
    first.pause(0, "b")
    alone = request(6, "m")
    alone.exclusive = True
    first.acquire(0, "a", alone)
    first.release(0, "a", resident_bytes=7 * GIB)
    assert kinds(first.resume(0, "b"), "b") == ["granted"]
    second = first.restarted(path)
    assert second.memory["sim:0"].exclusive == "b"
    assert kinds(second.acquire(1, "c", request(2)), "c") == ["queued"]
    assert kinds(second.release(2, "b"), "c") == ["granted"]


def test_tokens_and_peaks_outlive_many_restarts(path: Path) -> None:
    arbiter, latest = Arbiter(path), 0
    for number in range(5):
        ((_, granted), *_) = arbiter.acquire(0, str(number), request(1, "m"))
        assert granted.granted.fencing_token > latest
        latest = granted.granted.fencing_token
        arbiter.release(0, str(number), peak_seen=5 * GIB)
        arbiter = arbiter.restarted(path)
    assert arbiter.peaks == {"m": 5 * GIB}
    assert latest <= 5 * (TOKENS_AHEAD + 1)


def test_the_file_stays_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_journal, "MAX_BYTES", 2_000)
    arbiter = Arbiter(path)
    for number in range(200):
        arbiter.acquire(0, str(number), request())
        arbiter.write()
        assert path.stat().st_size <= 2_000
        arbiter.release(0, str(number))
        arbiter.write()
    assert not arbiter.restarted(path).view.leases


def test_a_line_that_was_not_written_completely_is_ignored(path: Path) -> None:
    first = Arbiter(path)
    first.acquire(0, "a", request())
    first.write()
    first.journal.close()
    with path.open("ab") as file:
        file.write(b'{"ended": "a')
    assert set(Arbiter(path).view.leases) == {"a"}


def test_nothing_is_granted_for_a_ttl_if_the_journal_is_damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('nonsense\n{"tokens": {"sim:0": 7}}\n')
    arbiter = Arbiter(path)
    assert kinds(arbiter.acquire(1, "a", request()), "a") == ["queued"]
    assert arbiter.next_deadline() == TTL
    ((_, granted),) = arbiter.tick(TTL)
    assert granted.granted.fencing_token == 8


def test_a_journal_has_one_arbiter(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(LanemeshError, match="in use by another GPU arbiter"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_a_journal_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LanemeshError, match="cannot be opened"):
        Journal(tmp_path / "file" / "journal")
