"""How `audio_tts` speaks: sentence by sentence, in order, until it is interrupted. Its voice makes tones."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from lanemesh import Answer, Context, Envelope, Group, Inputs, Outputs
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.inputs import inbox_of
from lanemesh.node.outputs import OutputLanes
from lanemesh.testing import NodeResult, run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.speech.audio_tts import AudioTts
from lanemesh_services.speech.errors import SpeechFailed, VoiceUnusable
from lanemesh_services.speech.speaking import MAX_SENTENCES, Speaker

from rigs.audio import seconds_of
from rigs.speech_engines import SpeakTones, ToneVoice


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> ToneVoice:
    voice = ToneVoice()
    monkeypatch.setattr(SpeakTones, "voice", voice, raising=False)
    return voice


def said(text: list[str], **config: Any) -> NodeResult:
    return run_node(SpeakTones, config=config, text=text, timeout=60)


def groups(result: NodeResult) -> list[tuple[str, int, bool, str]]:
    found = [item.envelope.group for item in result.items["speech"] if item.envelope and item.envelope.group]
    return [(group.id, group.index, group.last, group.outcome.name) for group in found]


def test_the_pieces_of_a_text_have_their_times_and_sentences(voice: ToneVoice) -> None:
    result = said(["It rains in the town. The sun shines."], format="pcm", pause=0.5)
    assert voice.spoken == ["It rains in the town.", "The sun shines."]
    assert [piece.timestamp for piece in result.speech] == [0.0, 0.5]
    assert [len(piece.content) / 2 / 16_000 for piece in result.speech] == [0.5, 0.8]
    sentences = [item.envelope.metadata for item in result.items["speech"] if item.envelope]
    assert sentences == [{"text": "It rains in the town."}, {"text": "The sun shines."}, None]
    assert groups(result)[-1] == ("speak_tones_1.1", 2, True, "OK")


@pytest.mark.usefixtures("voice")
def test_each_text_is_a_group_of_its_own() -> None:
    assert [one[0] for one in groups(said(["One.", "Two."])) if one[2]] == ["speak_tones_1.1", "speak_tones_1.2"]


@pytest.mark.usefixtures("voice")
@pytest.mark.parametrize("form", ["mp3", "wav"])
def test_the_pieces_together_are_one_file(form: str) -> None:
    result = said(["It rains in the town. The sun shines."], format=form, pause=0.5)
    assert seconds_of(b"".join(piece.content for piece in result.speech)) == pytest.approx(1.3, abs=0.2)
    if form == "mp3":
        assert seconds_of(result.speech[1].content) == pytest.approx(0.8, abs=0.1), "each piece can be played"


def test_answers_are_spoken(voice: ToneVoice) -> None:
    run_node(SpeakTones, answers=[Answer("Yes. It does", finish_reason="stop")], timeout=60)
    assert voice.spoken == ["Yes.", "It does"]


@pytest.mark.usefixtures("voice")
def test_nothing_to_say_gives_nothing() -> None:
    assert said(["", "...", "🙂"]).items["speech"] == []


@pytest.mark.usefixtures("voice")
def test_a_sentence_without_sound_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert len(said(["One. nothing. Two."]).speech) == 2
    assert "nothing of a sentence can be spoken: nothing." in caplog.text


@pytest.mark.usefixtures("voice")
def test_a_voice_that_fails_is_an_error_with_the_sentence() -> None:
    with pytest.raises(SpeechFailed, match=r'the sentence "fail now.": the voice failed'):
        said(["All is well. fail now. And on."])


class SetsAt(logging.Handler):
    """Sets an event at a log line with a word."""

    def __init__(self, word: str, event: threading.Event) -> None:
        super().__init__(logging.INFO)
        self._word, self._event = word, event

    def emit(self, record: logging.LogRecord) -> None:
        if self._word in record.getMessage():
            self._event.set()


class Speaking:
    """A speaker whose texts and marks arrive when the test says so."""

    def __init__(self, voice: ToneVoice) -> None:
        self.inbox = inbox_of(SpeakTones)
        self._edges = {port: self.inbox.add_edge(port, port, limit_items=10_000) for port in ("text", "interrupt")}
        self._outputs = Inbox(["speech"])
        sender = MemorySender(self._outputs.add_edge("speech", "speech", limit_items=10_000))
        outputs = Outputs("tts", {"speech": OutputLanes("tts.speech", LaneType.AUDIO, [sender])})
        context = Context(run_id="r", component="tts", provider="speak_tones")
        inputs = Inputs("tts", self.inbox, SpeakTones.inputs_)
        config = SpeakTones.Config.model_validate({"format": "pcm"})
        self.running = asyncio.create_task(Speaker(config, context, inputs, voice).run(outputs))

    def arrive(self, port: str, *values: Any, group: str = "") -> None:
        """Values arrive, as the pieces of a group if it has a name."""
        for number, value in enumerate(values):
            last = number == len(values) - 1
            envelope = Envelope(group=Group(group, number, last)) if group else None
            self._edges[port].put(value, 10, envelope)

    async def ended(self) -> list[tuple[str, bool, str]]:
        """No more arrives. The groups that were sent, each with whether it is the end, and the outcome."""
        for edge in self._edges.values():
            edge.end()
        async with asyncio.timeout(60):
            await self.running
        sent = [self._outputs.port("speech").take().envelope for _ in range(self._outputs.arrivals)]
        found = [one.group for one in sent if one is not None and one.group is not None]
        return [(group.id, group.last, group.outcome.name) for group in found]


@pytest.fixture
def going_on(voice: ToneVoice, caplog: pytest.LogCaptureFixture) -> Iterator[ToneVoice]:
    """A voice that goes on when it is interrupted."""
    caplog.set_level(logging.INFO)
    handler = SetsAt("interrupted", voice.go)
    logging.getLogger().addHandler(handler)
    yield voice
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("form", ["one text", "pieces of a text", "texts"])
@pytest.mark.parametrize("many", [10, 3 * MAX_SENTENCES])
async def test_an_interruption_ends_what_was_begun_and_no_more(going_on: ToneVoice, form: str, many: int) -> None:
    sentences = ["It is said. ", "Please wait. ", *["Never said. "] * many]
    given = ["".join(sentences)] if form == "one text" else sentences
    speaking = Speaking(going_on)
    speaking.arrive("text", *given, group="g" if form == "pieces of a text" else "")
    assert await asyncio.to_thread(going_on.waits.wait, 30)
    speaking.arrive("interrupt", None, {"event": "end"}, {"event": "stop"})
    speaking.arrive("text", "The next one.")
    found = await speaking.ended()
    assert going_on.spoken == ["It is said.", "Please wait.", "The next one."]
    cancelled = [one for one in found if one[1:] == (True, "CANCELLED")]
    assert len(cancelled) == (form != "texts"), "a text whose speech has not begun gives nothing"
    assert found[-1][1:] == (True, "OK")


async def test_what_arrives_while_somebody_speaks_is_not_spoken_although_the_marks_are_read_late(
    going_on: ToneVoice,
) -> None:
    speaking = Speaking(going_on)
    speaking.arrive("text", "Please wait. ", *["Never said. "] * (2 * MAX_SENTENCES))
    assert await asyncio.to_thread(going_on.waits.wait, 30)
    speaking.arrive("interrupt", {"event": "start"})
    speaking.arrive("text", "Unheard.")
    speaking.arrive("interrupt", {"event": "end"})
    speaking.arrive("text", "Last.")
    await speaking.ended()
    assert going_on.spoken == ["Please wait.", "Last."]


async def test_the_producer_waits_while_many_sentences_wait(going_on: ToneVoice) -> None:
    speaking = Speaking(going_on)
    speaking.arrive("text", "Please wait. ", *["More. "] * (2 * MAX_SENTENCES))
    assert await asyncio.to_thread(going_on.waits.wait, 30)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert speaking.inbox.statistics().waiting_items > MAX_SENTENCES // 2
    speaking.arrive("interrupt", {"event": "stop"})
    await speaking.ended()


def test_nothing_is_begun_while_somebody_speaks(voice: ToneVoice) -> None:
    marks = [("interrupt", {"event": event, "utterance": 2}) for event in ("start", "end")]
    others = [("interrupt", other) for other in (None, "start", {"event": 3})]
    arrivals = [("text", "First."), *others, marks[0], ("text", "Unheard."), marks[1], ("text", "Last.")]
    run_node(SpeakTones, arrivals=arrivals, timeout=60)
    assert "Unheard." not in voice.spoken
    assert voice.spoken[-1] == "Last."


@pytest.mark.parametrize("config", [{"engine": "espeak"}, {"profile": "espeak"}])
async def test_a_missing_program_is_one_sentence_with_the_command_that_installs_it(
    config: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    pipeline = {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {"id": "tts_1", "provider": "audio_tts", "config": config, "input": [{"lane": "text", "from": "chat_1"}]},
        ]
    }
    async with Mesh() as mesh:
        result = await mesh.run(pipeline, input="Hello").result()
    assert result.state == "failed"
    assert "audio_tts with the engine espeak needs the program espeak-ng" in str(result.error)
    assert "apt-get install espeak-ng" in str(result.error)


def test_kokoro_without_its_files_names_the_settings() -> None:
    with pytest.raises(VoiceUnusable, match=r"The voice af_sky cannot be used: .*`model` is not set. Set `model`"):
        run_node(AudioTts, config={"engine": "kokoro", "kokoro_voice": "af_sky"}, text="Hello")
