"""Audio of any form becomes samples, step by step, and what cannot be decoded is an error with its place."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from lanemesh import Audio
from lanemesh_services.speech.decoding import (
    Converter,
    PcmDecoder,
    PcmForm,
    Target,
    file_blocks,
    is_complete_wav,
    missing_wav_bytes,
)
from lanemesh_services.speech.encoding import encoder
from lanemesh_services.speech.errors import AudioUnusable
from lanemesh_services.speech.piped import PipedDecoder

from rigs.audio import container_of, recorded_by_browser, seconds_of, silent_video, tone, wav_of

TARGET = Target(16_000, 1)
CODECS = {"webm": "libopus", "ogg": "libopus", "mp4": "aac", "mp3": "libmp3lame"}


def decoded(content: bytes, target: Target = TARGET) -> tuple[Any, list[str]]:
    warnings: list[str] = []
    blocks = list(file_blocks(io.BytesIO(content), "it", Converter(target), warnings.append))
    return np.concatenate(blocks), warnings


def test_a_wav_file_has_the_samples_that_were_written() -> None:
    samples, warnings = decoded(wav_of(tone(1)))
    assert (samples == tone(1)).all()
    assert warnings == []


@pytest.mark.parametrize(
    ("form", "codec"), [("webm", "libopus"), ("ogg", "libopus"), ("mp4", "aac"), ("mp3", "libmp3lame")]
)
def test_files_of_other_formats_have_the_same_length(form: str, codec: str) -> None:
    samples, _ = decoded(container_of(tone(2)[:, 0], form, codec))
    assert abs(len(samples) - 32_000) < 2_500
    assert 4_000 < np.abs(samples[2_000:30_000]).max() < 12_000


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_rate_and_channels_are_converted(rate: int, channels: int) -> None:
    samples, _ = decoded(wav_of(tone(1, rate, channels), rate))
    assert samples.shape[1] == 1
    assert abs(len(samples) - 16_000) <= 32


def test_without_a_target_those_of_the_source_are_kept() -> None:
    samples, _ = decoded(wav_of(tone(0.5, 44_100, 2), 44_100), Target())
    assert samples.shape == (22_050, 2)


@pytest.mark.parametrize("target", [Target(16_000, 1), Target(24_000, 2), Target()])
def test_raw_samples_are_the_same_in_pieces_of_any_size(target: Target) -> None:
    content = tone(1, 22_050).tobytes()
    form = PcmForm(22_050, 1, False)

    def pushed(size: int) -> Any:
        decoder = PcmDecoder(form, target)
        blocks = [
            block for start in range(0, len(content), size) for block in decoder.push(content[start : start + size])
        ]
        return np.concatenate([*blocks, *decoder.finish()])

    whole = pushed(len(content))
    assert abs(len(whole) - (target.rate or 22_050)) <= 32
    assert (pushed(1_001) == whole).all()


def test_the_form_of_raw_samples_is_that_of_the_fields_before_that_of_the_type() -> None:
    typed = Audio("audio/L16; rate=8000; channels=2", b"")
    assert PcmForm.of(typed, "it") == PcmForm(8_000, 2, True)
    assert PcmForm.of(Audio("audio/pcm;rate=8000", b"", rate=16_000), "it") == PcmForm(16_000, 1, False)
    assert PcmForm.of(Audio("audio/wav", b""), "it") is None


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (999, 1), (1e9, 1), (16_000, 4_000)])
def test_a_wrong_rate_or_number_of_channels_is_refused(rate: float, channels: int) -> None:
    with pytest.raises(AudioUnusable, match=r"^it: raw samples with rate .* Set `rate` to 1000 to 384000") as caught:
        PcmForm.of(Audio("audio/pcm", b"", rate=rate, channels=channels), "it")
    assert caught.value.fault.reason == "unknown-audio-format"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "bad-audio"),
        (b"plain text, many times. " * 100, "bad-audio"),
        (wav_of(tone(1))[:20], "bad-audio"),
        (wav_of(tone(1))[:44], "no-audio"),
        (silent_video(), "no-audio"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "bad-audio"),
        (b"ffconcat version 1.0\nfile '/etc/hostname'\n", "bad-audio"),
        (container_of(tone(1)[:, 0], "mp4", "aac")[:2_000], "bad-audio"),
    ],
    ids=["nothing", "text", "head", "no samples", "video", "playlist", "concat", "truncated mp4"],
)
def test_what_is_no_audio_is_an_error(content: bytes, reason: str) -> None:
    with pytest.raises(AudioUnusable) as caught:
        decoded(content)
    assert caught.value.fault.reason == reason
    assert caught.value.fault.message.startswith("it: ")


def head_with(offset: int, value: int, size: int) -> bytes:
    """A WAV file with another number in its head."""
    wav = wav_of(tone(1))
    return wav[:offset] + value.to_bytes(size, "little") + wav[offset + size :]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (head_with(20, 0x1234, 2), "no decoder here reads the codec of its audio in wav"),
        (head_with(24, 0, 4), "it cannot be decoded"),
        (head_with(24, 1, 4), "its samples have a rate of 1 Hz"),
        (head_with(24, 4_000_000_000, 4), "it cannot be decoded"),
        (head_with(22, 0, 2), "it cannot be decoded"),
        (head_with(22, 60_000, 2), "it cannot be decoded"),
    ],
    ids=["codec", "no rate", "slow", "fast", "no channels", "many channels"],
)
def test_a_wrong_head_is_an_error(content: bytes, why: str) -> None:
    with pytest.raises(AudioUnusable, match=f"it: {why}"):
        decoded(content)


@pytest.mark.parametrize("form", ["webm", "ogg", "mp4", "mp3", "wav"])
def test_random_damage_is_an_error_or_is_left_out(form: str) -> None:
    chance = random.Random(form)
    samples = tone(1)
    whole = wav_of(samples) if form == "wav" else container_of(samples[:, 0], form, CODECS[form])
    for _ in range(40):
        content = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.choice([1, 5, 50])):
            if content:
                content[chance.randrange(len(content))] = chance.randrange(256)
        with suppress(AudioUnusable):
            decoded(bytes(content))


def test_damage_in_the_middle_is_reported_and_the_rest_is_read() -> None:
    content = bytearray(container_of(tone(4)[:, 0], "mp3", "libmp3lame"))
    middle = len(content) // 2
    content[middle : middle + 2_000] = b"\0" * 2_000
    samples, _ = decoded(bytes(content))
    assert 40_000 < len(samples) < 64_000


def test_a_truncated_wav_file_is_known_by_its_head() -> None:
    wav = wav_of(tone(1))
    assert (is_complete_wav(wav), missing_wav_bytes(wav)) == (True, 0)
    assert (is_complete_wav(wav[:20_000]), missing_wav_bytes(wav[:20_000])) == (False, len(wav) - 20_000)
    stream = encoder("wav", 16_000, 1)
    endless = stream.push(tone(1)) + stream.finish()
    assert (is_complete_wav(endless), missing_wav_bytes(endless)) == (False, 0)
    assert len(decoded(endless)[0]) == 16_000


def piped(content: bytes, size: int, target: Target = TARGET) -> list[Any]:
    """The blocks after each piece, and those of the end."""
    decoder = PipedDecoder("it", target, lambda _: None)
    try:
        pushed = [list(decoder.push(content[start : start + size])) for start in range(0, len(content), size)]
        return [*pushed, list(decoder.finish())]
    finally:
        decoder.close()


@pytest.mark.parametrize(
    ("form", "codec"), [("webm", "libopus"), ("ogg", "libopus"), ("mp3", "libmp3lame"), ("wav", "pcm_s16le")]
)
def test_a_file_in_pieces_has_the_samples_of_the_whole_file(form: str, codec: str) -> None:
    content = container_of(tone(5)[:, 0], form, codec)
    steps = piped(content, 1_000)
    whole, _ = decoded(content)
    blocks = [block for step in steps for block in step]
    samples = np.concatenate(blocks)
    assert 0 <= len(samples) - len(whole) < 600, "only the end of an MP3 stream is not known to be padding"
    inside = len(whole) - 600
    assert (samples[:inside] == whole[:inside]).all()


@pytest.mark.parametrize("form", ["webm", "ogg", "mp4"])
def test_recordings_of_browsers_are_read_whole_and_in_pieces(form: str) -> None:
    content = recorded_by_browser(tone(3)[:, 0], form)
    whole, warnings = decoded(content)
    assert (abs(len(whole) - 48_000) < 2_500, warnings) == (True, [])
    assert abs(sum(len(block) for step in piped(content, 1_000) for block in step) - len(whole)) < 2_500


def test_samples_are_there_before_the_file_has_ended() -> None:
    content = wav_of(tone(10))
    steps = piped(content, 16_000)
    assert sum(len(block) for step in steps[: len(steps) // 2] for block in step) > 40_000


def test_what_follows_the_end_of_a_file_is_left_out_and_not_kept() -> None:
    decoder = PipedDecoder("it", TARGET, lambda _: None)
    try:
        blocks = list(decoder.push(wav_of(tone(1)) + bytes(100_000)))
        for _ in range(10):
            blocks += decoder.push(bytes(1_000_000))
        blocks += decoder.finish()
    finally:
        decoder.close()
    assert sum(map(len, blocks)) == 16_000
    assert len(decoder._data) < 200_000


def test_a_file_in_pieces_that_is_no_audio_is_an_error() -> None:
    with pytest.raises(AudioUnusable, match="it cannot be decoded"):
        piped(b"no audio " * 1_000, 500)


def test_a_decoder_that_is_left_early_ends_its_thread() -> None:
    decoder = PipedDecoder("it", TARGET, lambda _: None)
    next(decoder.push(container_of(tone(60)[:, 0], "wav", "pcm_s16le")))
    decoder.close()
    decoder._thread.join(10)
    assert not decoder._thread.is_alive()


@pytest.mark.parametrize("form", ["pcm", "wav", "mp3", "opus"])
@pytest.mark.parametrize("rate", [11_025, 44_100])
def test_what_is_encoded_in_pieces_is_one_file(form: Any, rate: int) -> None:
    encoded = encoder(form, rate, 2)
    samples = tone(2, rate, 2)
    content = (
        b"".join(encoded.push(samples[start : start + 1_000]) for start in range(0, len(samples), 1_000))
        + encoded.finish()
    )
    if form == "pcm":
        assert content == samples.tobytes()
        return
    assert decoded(content, Target())[0].shape[1] == 2
    assert seconds_of(content) == pytest.approx(2, abs=0.15)


class _Counting(io.BytesIO):
    """A file that knows how much of it was read."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.read_bytes += len(content)
        return content


def test_of_a_long_file_only_what_is_next_is_decoded() -> None:
    source = _Counting(wav_of(tone(600)))
    blocks = file_blocks(source, "it", Converter(TARGET), lambda _: None)
    assert len(next(blocks)) <= 24_000
    assert source.read_bytes < 1_000_000
    assert max(map(len, blocks)) <= 24_000
