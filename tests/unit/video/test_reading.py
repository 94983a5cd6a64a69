"""The parts below `video_frames`: files whose pieces still arrive, and the end of what nobody reads."""

from __future__ import annotations

import asyncio
import io
import threading

import pytest
from lanemesh.extend import in_thread
from lanemesh_services.video import piece_file
from lanemesh_services.video.decoding import Selection, decoded
from lanemesh_services.video.piece_file import AHEAD, NoSpace, PieceFile, ReaderStopped

from rigs.videos import video_of


async def test_a_reader_waits_for_the_pieces_and_goes_to_any_place() -> None:
    file = PieceFile()
    reading = asyncio.create_task(in_thread(file.read, 10))
    assert await file.put(b"abc")
    assert await reading == b"abc"
    assert file.seek(-1, 2) == -1  # the end is unknown
    later = asyncio.create_task(in_thread(lambda: (file.seek(5), file.read(2))[1]))
    assert await file.put(b"defgh")
    assert await later == b"fg"
    file.end()
    assert file.seek(-1, 2) == 7
    assert [file.read(9), file.read(9), file.tell()] == [b"h", b"", 8]
    file.close()


async def test_the_writer_waits_while_the_reader_is_far_behind() -> None:
    file = PieceFile()
    piece = bytes(AHEAD // 2)
    assert await file.put(piece)
    assert await file.put(piece)
    third = asyncio.create_task(file.put(piece))
    await asyncio.wait([third], timeout=0.05)
    assert not third.done()
    while not third.done():
        await in_thread(file.read, 1024 * 1024)
        await asyncio.sleep(0)
    assert await third
    file.close()


async def test_a_reader_that_stops_ends_the_writer_and_a_writer_that_stops_ends_the_reader() -> None:
    file = PieceFile()
    reading = asyncio.create_task(in_thread(file.read, 10))
    file.stop()
    with pytest.raises(ReaderStopped):
        await reading
    assert not await file.put(b"abc")
    file.close()


async def test_a_piece_is_written_outside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_file, "IN_MEMORY", 4)
    file = PieceFile()
    loop_thread, threads = threading.get_ident(), []
    write = file._file.write

    def recorded(content: bytes) -> int:
        threads.append(threading.get_ident())
        return write(content)

    monkeypatch.setattr(file._file, "write", recorded)
    assert await file.put(b"more than is held in memory")
    assert len(threads) == 1
    assert loop_thread not in threads
    file.close()


async def test_all_files_together_are_bounded_and_give_back_what_they_took(monkeypatch: pytest.MonkeyPatch) -> None:
    before = (piece_file.SPACE.memory, piece_file.SPACE.total)
    monkeypatch.setattr(piece_file, "ALL_IN_MEMORY", before[0] + piece_file.IN_MEMORY)
    monkeypatch.setattr(piece_file, "ALL", before[1] + 10)
    first, second = PieceFile(), PieceFile()
    assert await first.put(b"six of")
    with pytest.raises(NoSpace, match="all videos that are read at the same time"):
        await second.put(b"too many")
    assert await second.put(b"four")
    assert await in_thread(second.read, 9) == b"four"
    first.close()
    assert await second.put(b"and 3")
    for file in (first, second, second):
        file.close()
    assert (piece_file.SPACE.memory, piece_file.SPACE.total) == before


def test_a_reading_that_is_stopped_ends_at_the_next_packet() -> None:
    reports: list[object] = []

    def read(*, stop_after: int) -> int:
        packets = iter(range(stop_after))
        values = decoded(
            *(io.BytesIO(video_of(4).content), video_of(4), Selection(), lambda *_: None, reports.append),
            whole=True,
            stopped=lambda: next(packets, None) is None,
        )
        return len(list(values))

    assert read(stop_after=5) < 10
    assert read(stop_after=1_000) == 100
