"""What docs/nodes/speech.md tells readers to paste works, and the examples of speech run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lanemesh import Audio
from lanemesh_orchestrator import Mesh

from pages import ROOT, Reader, blocks
from rigs.audio import INPUTS

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    clone = tmp_path_factory.mktemp("speech")
    (clone / "examples").symlink_to(ROOT / "examples")
    reader = Reader(clone)
    yield reader
    reader.leave()


def test_the_page_works(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(ROOT / "docs" / "nodes" / "speech.md"):
        if not block.text.startswith("pip install"):
            reader.paste(block)


async def test_a_call_is_summarised() -> None:
    call = Audio("audio/mpeg", (INPUTS / "call.mp3").read_bytes())
    async with Mesh() as mesh:
        result = await mesh.run(ROOT / "examples" / "summarise_call.pipe", input=call).result()
    assert result.state == "completed"
    documents = [value for value in result.values if hasattr(value, "metadata")]
    assert len(documents) >= 3
    assert result.values[-1].finish_reason in ("stop", "length")
