"""Speaks the sentences of texts in order, and stops when it is interrupted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lanemesh import Answer, Audio, Context, Envelope, Group, Inputs, Outputs
from lanemesh.extend import ABSENT, GroupOutcome, Item, in_thread

from lanemesh_services.speech.encoding import encoder
from lanemesh_services.speech.sentences import SentenceSplitter
from lanemesh_services.speech.voices import Voice

MAX_SENTENCES = 256
"""Sentences that wait to be spoken; the producer of the text waits then."""


@dataclass(slots=True)
class _Whole:
    """One text, and the speech for it."""

    splitter: SentenceSplitter
    group: str
    index: int = 0
    """Pieces that were sent."""
    seconds: float = 0.0
    """Length of them."""
    stopped: bool = False
    """It was interrupted."""
    outcome: GroupOutcome = GroupOutcome.OK
    """How the text ended."""
    is_queued: bool = False
    """A sentence of it was to be spoken."""
    encoder: Any = field(default=None, repr=False)
    """Of a format whose pieces are one file."""


_Sentence = tuple[_Whole, str | None]
"""A sentence of a text; None: the text has ended."""


class Speaker:
    """Speaks for one component in one run.

    Texts and marks are read in the order of their arrival. A mark that interrupts acts when it arrives, also while the producer of
    a text waits: what arrived before it, read or not, is not spoken any more.
    """

    def __init__(self, config: Any, context: Context, inputs: Inputs, voice: Voice) -> None:
        self._config = config
        self._context = context
        self._inputs = inputs
        self._voice = voice
        self._waiting: asyncio.Queue[_Sentence | None] = asyncio.Queue()
        self._room = asyncio.Event()
        """Set when fewer sentences wait, or when texts were stopped."""
        self._open: dict[tuple[str, str], _Whole] = {}
        self._wholes: dict[str, _Whole] = {}
        """The texts that are not yet spoken to their ends."""
        self._count = 0
        self._is_interrupted = False
        """The speaker speaks: what begins now is not spoken."""

    async def run(self, outputs: Outputs) -> None:
        """Reads and speaks until the inputs have ended. Raises `SpeechFailed` if the voice fails."""
        reading = asyncio.create_task(self._read(), name="read text")
        listening = asyncio.create_task(self._listen(), name="listen for interruptions")
        speaking = asyncio.create_task(self._speak(outputs), name="speak")
        try:
            await asyncio.wait([reading, speaking], return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not speaking.done():
                await asyncio.wait([speaking])
        finally:
            for task in (reading, speaking, listening):
                task.cancel()
            await asyncio.wait([reading, speaking, listening])
        for task in (speaking, reading, listening):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        if reading.cancelled():
            raise asyncio.CancelledError

    async def _listen(self) -> None:
        """Stops what was begun as soon as a mark arrives that interrupts it."""
        if "interrupt" not in self._inputs.connected:
            return
        while True:
            if self._is_due():
                self._interrupt()
            await self._inputs.arrival("interrupt")

    def _is_due(self) -> bool:
        """A mark has arrived that interrupts what arrived before it."""
        return "interrupt" in self._inputs.connected and any(map(_interrupts, self._inputs.waiting("interrupt")))

    async def _read(self) -> None:
        try:
            async for port, item in self._inputs.iter_items():
                if port == "interrupt":
                    self._marked(item.value)
                else:
                    await self._take(port, item)
            for whole in list(self._open.values()):
                await self._end(whole)
        finally:
            self._waiting.put_nowait(None)

    async def _take(self, port: str, item: Item) -> None:
        group = item.envelope.group if item.envelope is not None else None
        key = (port, group.id if group is not None else "")
        whole = self._open.get(key)
        if whole is None:
            if item.value is ABSENT:
                return
            whole = self._open[key] = self._begin()
        if item.value is not ABSENT:
            text = item.value.text if isinstance(item.value, Answer) else item.value
            for sentence in whole.splitter.push(text):
                await self._enqueue(whole, sentence)
        if group is None or group.last:
            whole.outcome = GroupOutcome.OK if group is None else group.outcome
            del self._open[key]
            await self._end(whole)

    def _begin(self) -> _Whole:
        self._count += 1
        splitter = SentenceSplitter(first_clause=self._config.first_clause)
        stopped = self._is_interrupted or self._is_due()
        whole = _Whole(splitter, f"{self._context.component}.{self._count}", stopped=stopped)
        if whole.stopped:
            self._context.log.info("interrupted: text %d is not spoken", self._count)
        self._wholes[whole.group] = whole
        return whole

    async def _end(self, whole: _Whole) -> None:
        for sentence in whole.splitter.finish():
            await self._enqueue(whole, sentence)
        if whole.is_queued:
            self._waiting.put_nowait((whole, None))
        else:
            del self._wholes[whole.group]

    async def _enqueue(self, whole: _Whole, sentence: str) -> None:
        while self._waiting.qsize() >= MAX_SENTENCES and not whole.stopped:
            self._room.clear()
            await self._room.wait()
        if not whole.stopped:
            whole.is_queued = True
            self._waiting.put_nowait((whole, sentence))

    def _marked(self, mark: Any) -> None:
        """The speaker begins to speak, has ended, or stops the speech."""
        if (event := _event(mark)) in ("start", "end"):
            self._is_interrupted = event == "start"
        if _interrupts(mark):
            self._interrupt()

    def _interrupt(self) -> None:
        """Stops all that was begun. What is already sent, the player has to stop."""
        stopped = [whole for whole in self._wholes.values() if not whole.stopped]
        for whole in stopped:
            whole.stopped = True
        self._room.set()
        if stopped:
            self._context.log.info("interrupted: %d texts are not spoken to their ends", len(stopped))

    async def _speak(self, outputs: Outputs) -> None:
        while (sentence := await self._waiting.get()) is not None:
            self._room.set()
            whole, text = sentence
            if text is None:
                await self._finish(whole, outputs)
            elif not whole.stopped:
                await self._say(whole, text, outputs)

    async def _say(self, whole: _Whole, text: str, outputs: Outputs) -> None:
        parts = self._voice.speak(text, self._config.speed)
        metadata: dict[str, str] | None = {"text": text}
        while (part := await in_thread(next, parts, None)) is not None:
            if whole.stopped:
                return
            samples, rate = part
            if metadata is not None and whole.index:
                silence = np.zeros((round(self._config.pause * rate), 1), dtype=np.int16)
                samples = np.concatenate([silence, samples])
            mime_type, content = await in_thread(self._encoded, whole, samples, rate)
            piece = Audio(mime_type=mime_type, content=content, timestamp=whole.seconds, rate=float(rate), channels=1)
            envelope = Envelope(group=Group(whole.group, whole.index), metadata=metadata)
            whole.index += 1
            whole.seconds += len(samples) / rate
            metadata = None
            await outputs.emit("speech", piece, envelope)
        if metadata is not None and not whole.stopped:
            self._context.log.warning("nothing of a sentence can be spoken: %.100s", text)

    def _encoded(self, whole: _Whole, samples: Any, rate: int) -> tuple[str, bytes]:
        if self._config.format == "mp3":  # a file of its own; such files can be joined
            one = encoder("mp3", rate, 1)
            return one.mime_type, one.push(samples) + one.finish()
        if whole.encoder is None:
            whole.encoder = encoder(self._config.format, rate, 1)
        return whole.encoder.mime_type, whole.encoder.push(samples)

    async def _finish(self, whole: _Whole, outputs: Outputs) -> None:
        del self._wholes[whole.group]
        if not whole.index:
            return
        outcome = GroupOutcome.CANCELLED if whole.stopped else whole.outcome
        last = Group(whole.group, whole.index, last=True, outcome=outcome)
        await outputs.emit("speech", ABSENT, Envelope(group=last))


def _event(mark: Any) -> Any:
    """What a mark of `vad` says; None if it is none."""
    return mark.get("event") if isinstance(mark, dict) else None


def _interrupts(mark: Any) -> bool:
    """Whether a mark ends the speech that was begun."""
    return _event(mark) in ("start", "stop")
