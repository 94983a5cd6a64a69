"""A spoken question and a spoken answer, whose first sound comes before the answer is complete."""

from __future__ import annotations

import pytest
from lanemesh import Audio
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from pages import ROOT
from rigs.audio import question, recorded_by_browser, samples_of

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

PIPELINE = (ROOT / "examples" / "voice_turn.pipe").read_text(encoding="utf-8")


@pytest.mark.parametrize("spread", [None, "service"])
async def test_the_first_sound_is_delivered_before_the_last_word_is_written(spread: str | None) -> None:
    async with Mesh(spread) as mesh:  # type: ignore[arg-type]
        run = mesh.run(PIPELINE, input=Audio("audio/wav", question()), settings={"llm_1.delay": 0.25})
        updates = [update async for update in wire_updates(run)]
    assert updates[-1].job.state == update_pb2.RUN_STATE_COMPLETED
    outputs = [update.output for update in updates if update.WhichOneof("kind") == "output"]
    kinds = [output.item.WhichOneof("payload") for output in outputs]
    texts = [output.item.text for output in outputs if output.item.WhichOneof("payload") == "text"]
    assert texts[0] == "What is the weather like in London today?"
    assert kinds.index("audio") < len(kinds) - 1 - kinds[::-1].index("text"), kinds
    audio = [output.item for output in outputs if output.item.WhichOneof("payload") == "audio"]
    assert len({item.group.id for item in audio}) == 1
    assert audio[0].metadata["text"] == "In London,"
    times = [item.audio.timestamp_seconds for item in audio]
    assert times == sorted(times)


@pytest.mark.parametrize("form", ["webm", "mp4"])
async def test_a_recording_of_the_pages_microphone_is_a_turn(form: str) -> None:
    recording = recorded_by_browser(samples_of(question()), form)
    async with Mesh() as mesh:
        result = await mesh.run(PIPELINE, input=Audio(f"audio/{form}", recording)).result()
    assert result.state == "completed"
    assert "London" in "".join(value for value in result.values if isinstance(value, str))
    assert any(isinstance(value, Audio) for value in result.values)
