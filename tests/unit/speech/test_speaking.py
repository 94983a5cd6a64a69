"""How `audio_tts` speaks: sentence by sentence, in order, until it is interrupted. Its voice makes tones."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from lanemesh import Answer
from lanemesh.testing import NodeResult, run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.speech.audio_tts import AudioTts
from lanemesh_services.speech.errors import SpeechFailed, VoiceUnusable
from lanemesh_services.speech.speaking import MAX_SENTENCES

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


def test_an_interruption_ends_what_was_begun_and_no_more(voice: ToneVoice, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    handler = SetsAt("interrupted", voice.go)
    logging.getLogger().addHandler(handler)
    try:
        rest = "Never said. " * (MAX_SENTENCES - 1)  # so many that the second one is spoken before all of it is read
        first = ("text", f"It is said. Please wait. {rest}")
        arrivals = [
            first,
            ("interrupt", {"event": "end"}),
            ("interrupt", {"event": "stop"}),
            ("text", "The next one."),
        ]
        result = run_node(SpeakTones, arrivals=arrivals, timeout=60)
    finally:
        logging.getLogger().removeHandler(handler)
    assert voice.spoken == ["It is said.", "Please wait.", "The next one."]
    assert groups(result) == [
        ("speak_tones_1.1", 0, False, "OK"),
        ("speak_tones_1.1", 1, True, "CANCELLED"),
        ("speak_tones_1.2", 0, False, "OK"),
        ("speak_tones_1.2", 1, True, "OK"),
    ]


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
