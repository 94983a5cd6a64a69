"""The voice of a program: what it is given, what it sends, and how it fails. The program is one for tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from lanemesh_services.speech.errors import SpeechFailed, VoiceUnusable
from lanemesh_services.speech.voices import Voice, VoiceSettings, open_voice

PROGRAM = f"""#!{sys.executable}
import sys
arguments = sys.argv[1:]
voice, speed = arguments[arguments.index("-v") + 1], arguments[arguments.index("-s") + 1]
text = sys.stdin.read()
if voice == "xx":
    sys.exit("Error: The specified espeak-ng voice does not exist.")
if text == "crash":
    sys.exit(3)
head = b"RIFF\\x24\\xf0\\xff\\x7fWAVEfmt " + (16).to_bytes(4, "little") + b"\\1\\0\\1\\0" + (22_050).to_bytes(4, "little")
head += (44_100).to_bytes(4, "little") + b"\\2\\0\\x10\\0data\\0\\xf0\\xff\\x7f"
sys.stdout.buffer.write(head + int(speed).to_bytes(2, "little") * len(text.split()))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "espeak-ng"
    path.write_text(PROGRAM, encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def espeak(voice: str | None = None) -> Voice:
    return open_voice(VoiceSettings("espeak", voice=voice))


@pytest.mark.usefixtures("program")
def test_a_sentence_goes_to_its_input_and_its_samples_are_read() -> None:
    ((samples, rate),) = espeak("de").speak("eins --zwei drei", 2.0)
    assert (rate, samples.shape, samples.dtype) == (22_050, (3, 1), np.int16)
    assert samples[0, 0] == 350, "words a minute at twice the speed"


@pytest.mark.usefixtures("program")
def test_a_voice_that_it_does_not_know_is_found_before_the_run() -> None:
    with pytest.raises(
        VoiceUnusable, match=r"The voice xx cannot be used: Error: The specified .* List its voices with: "
    ):
        espeak("xx")


@pytest.mark.usefixtures("program")
def test_a_program_that_fails_is_an_error_with_the_sentence() -> None:
    with pytest.raises(SpeechFailed, match=r'the sentence "crash": espeak-ng failed: it ended with code 3'):
        list(espeak().speak("crash", 1.0))
