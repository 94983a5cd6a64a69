"""Videos in pieces: from `video_mux` to `video_frames`, in this process and over gRPC."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Pipeline
from lanemesh_orchestrator import Mesh
from lanemesh_services.video.frames import VideoFrames
from lanemesh_services.video.mux import VideoMux

from rigs.videos import FRAGMENTED, video_of

NODES = '''
from lanemesh import Context, Envelope, Group, In, Inputs, Node, Out, Outputs, Tags, Video


class Cut(Node):
    """Sends a video in pieces of one group."""

    video: In[Video]
    size: In[int] = 1_000
    pieces: Out[Video]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        number = 0
        async for video in inputs.stream("video"):
            number += 1
            parts = [video.content[at : at + 1_000] for at in range(0, len(video.content), 1_000)]
            for index, part in enumerate(parts):
                last = index == len(parts) - 1
                await outputs.emit("pieces", Video(video.mime_type, part), Envelope(group=Group(str(number), index, last)))
'''
"""Nodes of the tests."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nodes") / "cut_nodes.py"
    path.write_text(NODES, encoding="utf-8")
    return path


def reading(**config: Any) -> Pipeline:
    """A pipeline that cuts a video and reads its frames."""
    pipeline = Pipeline()
    source = pipeline.add("webhook")
    cut = pipeline.add("cut")
    frames = pipeline.add("video_frames", **config)
    source.video >> cut.video
    cut.pieces >> frames.video
    frames.frames >> pipeline.add("response", lane="image").image
    return pipeline


@pytest.mark.parametrize("options", [{}, FRAGMENTED])
async def test_a_file_in_pieces_is_read_like_a_whole_one(nodes: Path, options: dict[str, str]) -> None:
    async with Mesh(nodes=nodes) as mesh:
        result = await mesh.run(reading(rate=5), inputs=[video_of(options=options), video_of(1)]).result()
    times = [round(frame.timestamp, 1) for frame in result.values]
    assert times == [0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 0, 0.2, 0.4, 0.6, 0.8]


async def test_a_broken_file_in_pieces_is_skipped_or_fails_the_run(nodes: Path) -> None:
    broken = replace(video_of(), content=video_of().content[:-700])
    async with Mesh(nodes=nodes) as mesh:
        result = await mesh.run(reading(rate=1, skip_broken=True), inputs=[broken, video_of(1)]).result()
        assert [frame.timestamp for frame in result.values] == [0]
        failed = await mesh.run(reading(), input=broken).result()
        assert failed.error is not None
        assert "cannot be read" in failed.error.message
        failed = await mesh.run(reading(max_bytes=1_500), input=video_of()).result()
        assert failed.error is not None
        assert "more than 1,500 bytes" in failed.error.message


async def test_a_video_is_written_and_read_over_grpc_while_its_frames_arrive() -> None:
    pipeline = Pipeline()
    source = pipeline.add("webhook")
    first, mux, again = pipeline.add(VideoFrames), pipeline.add(VideoMux, fragment=0.4), pipeline.add(VideoFrames)
    source.video >> first.video
    first.frames >> mux.frames
    first.audio >> mux.audio
    mux.video >> again.video
    again.frames >> pipeline.add("response", lane="image").image
    async with Mesh("component") as mesh:
        result = await mesh.run(pipeline, input=video_of(2, sound=True)).result()
    assert len(result.values) == 50


async def test_the_error_of_a_file_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "torn.mp4").write_bytes(video_of().content[:-700])
    pipeline = Pipeline()
    source = pipeline.add("directory", path=str(tmp_path / "films"), watch=False)
    frames = pipeline.add(VideoFrames)
    source.video >> frames.video
    frames.frames >> pipeline.add("response", lane="image").image
    async with Mesh() as mesh:
        failed = await mesh.run(pipeline).result()
    assert failed.error is not None
    assert "torn.mp4: the video (video/mp4" in failed.error.message
