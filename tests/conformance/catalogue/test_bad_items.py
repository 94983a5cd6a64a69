"""Items that cannot be read: the error names their file, and `"on_error": "skip"` goes on with the next one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Audio, Envelope, Image, LogUpdate, NodeUpdate, OutputUpdate, RunFailed, Video
from lanemesh.codec import make_item
from lanemesh.items import FILE_NAME, LaneType
from lanemesh_orchestrator import Mesh

from rigs import commands
from rigs.audio import question
from rigs.pictures import gradient, image_of, page
from rigs.videos import video_of

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

BROKEN: dict[str, tuple[str, str, str, Any]] = {
    "picture": ("image_convert", "image", "image", Image("image/png", b"no picture")),
    "text of a picture": ("ocr", "image", "text", Image("image/png", b"no picture")),
    "recording": ("audio_convert", "audio", "audio", Audio("audio/wav", b"no recording")),
    "speech": ("vad", "audio", "audio", Audio("audio/wav", b"no recording")),
    "video": ("video_frames", "video", "image", Video("video/mp4", b"no video")),
}
"""A node type, its lanes, and an item that it cannot read."""


def pipeline(case: str, **fields: Any) -> dict[str, Any]:
    provider, taken, given, _ = BROKEN[case]
    reader = {"id": "reader", "provider": provider, "input": [{"lane": taken, "from": "source"}], **fields}
    return {
        "components": [
            {"id": "source", "provider": "webhook"},
            reader,
            {"id": "out", "provider": "response", "input": [{"lane": given, "from": "reader"}]},
        ]
    }


def good(case: str) -> Any:
    kind = type(BROKEN[case][3])
    if kind is Image:
        return image_of(gradient() if case == "picture" else page("Harbour"))
    return Audio("audio/wav", question()) if kind is Audio else video_of()


def of_file(value: Any, name: str) -> Any:
    lane = LaneType(type(value).__name__.lower())
    return make_item(lane, value, Envelope(metadata={FILE_NAME: name}), where="the test")


@pytest.mark.parametrize("case", BROKEN)
async def test_the_error_of_an_item_begins_with_the_name_of_its_file(case: str) -> None:
    async with Mesh() as mesh:
        result = await mesh.run(pipeline(case), inputs=[of_file(BROKEN[case][3], "scans/7")]).result()
    with pytest.raises(RunFailed, match="scans/7"):
        result.raise_for_state()


@pytest.mark.parametrize("case", BROKEN)
async def test_on_error_skip_goes_on_with_the_next_item_and_reports_the_file(case: str) -> None:
    inputs = [of_file(BROKEN[case][3], "scans/7"), of_file(good(case), "scans/8")]
    async with Mesh() as mesh:
        updates = await mesh.run(pipeline(case, on_error="skip"), inputs=inputs).updates()
    logged = [update.message for update in updates if isinstance(update, LogUpdate)]
    assert [message for message in logged if "scans/7" in message], logged
    assert [update for update in updates if isinstance(update, OutputUpdate)]
    assert not [update.error for update in updates if isinstance(update, NodeUpdate) and update.error]


async def test_a_setting_of_the_document_comes_before_on_error() -> None:
    strict = pipeline("speech", on_error="skip", config={"on_bad_audio": "fail"})
    async with Mesh() as mesh:
        result = await mesh.run(strict, inputs=[BROKEN["speech"][3]]).result()
    assert result.state == "failed"


def test_the_command_names_the_file_of_a_picture(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(b"no picture")
    (tmp_path / "ocr.pipe").write_text(json.dumps(pipeline("picture")))
    done = commands.run("run", str(tmp_path / "ocr.pipe"), "--file", str(tmp_path / "scan.png"))
    assert done.returncode == 1
    assert f"{tmp_path / 'scan.png'}: the image (image/png, 10 bytes) cannot be read" in done.stderr
