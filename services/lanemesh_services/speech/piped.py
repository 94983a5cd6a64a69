"""Decodes a file that arrives in pieces, with a decoder that reads when it wants to: in a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from lanemesh_services.speech.decoding import Converter, Target, file_blocks

MAX_BLOCKS = 4
"""Decoded blocks that wait; the decoder stops there."""


class PipedDecoder:
    """Decodes one file from its pieces. `push` and `finish` block, so they are called in worker threads; `close` does not."""

    def __init__(self, place: str, target: Target, warn: Callable[[str], object]) -> None:
        self._changed = threading.Condition()
        self._data = bytearray()
        self._ended = self._hungry = self._done = False
        self._blocks: deque[Any] = deque()
        self._error: BaseException | None = None
        self._converter = Converter(target)
        self._work = file_blocks(self, place, self._converter, warn, piped=True)
        self._thread = threading.Thread(target=self._decode, name="decode audio", daemon=True)
        self._thread.start()

    @property
    def rate(self) -> int:
        """Rate of its blocks; 0 before the first one if it is that of the source."""
        return self._converter.rate

    @property
    def channels(self) -> int:
        """Channels of its blocks."""
        return self._converter.channels

    def read(self, size: int, /) -> bytes:
        """Called by the decoder: the next bytes, waiting for them; empty at the end."""
        with self._changed:
            while not self._data and not self._ended:
                self._hungry = True
                self._changed.notify_all()
                self._changed.wait()
            self._hungry = False
            taken = bytes(self._data[:size])
            del self._data[:size]
            return taken

    def push(self, content: bytes) -> Iterator[Any]:
        """Adds a piece, and yields the blocks that are ready, until the decoder wants more. Raises `AudioUnusable`."""
        with self._changed:
            if not self._done:  # what follows the end of the file is not kept
                self._data += content
            self._hungry = self._hungry and not content
            self._changed.notify_all()
        return self._ready()

    def finish(self) -> Iterator[Any]:
        """Ends the file, and yields the rest of its blocks. Raises `AudioUnusable`."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        return self._ready()

    def close(self) -> None:
        """Ends the thread, and drops what is left."""
        with self._changed:
            self._ended, self._done = True, True
            self._data.clear()
            self._blocks.clear()
            self._changed.notify_all()

    def _ready(self) -> Iterator[Any]:
        while True:
            with self._changed:
                while not self._blocks and not self._done and (self._ended or not self._hungry):
                    self._changed.wait()
                if not self._blocks:
                    error, self._error = self._error, None
                    if error is not None:
                        raise error
                    return
                block = self._blocks.popleft()
                self._changed.notify_all()
            yield block

    def _decode(self) -> None:
        error: BaseException | None = None
        try:
            for block in self._work:
                with self._changed:
                    while len(self._blocks) >= MAX_BLOCKS and not self._done:
                        self._changed.wait()
                    if self._done:
                        break
                    self._blocks.append(block)
                    self._changed.notify_all()
        except BaseException as caught:
            error = caught
        finally:
            with self._changed:
                self._error, self._done = error, True
                self._changed.notify_all()
