"""Audio that is uploaded to a gateway is read while it arrives."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway.server import gateway_server

from rigs.audio import seconds_of, tone, wav_of


async def test_an_upload_in_pieces_is_converted_and_an_error_has_its_name() -> None:
    long = wav_of(tone(300))
    assert len(long) > 8 * 1024 * 1024, "it enters in pieces"
    pipeline = {
        "components": [
            {"id": "file_1", "provider": "file"},
            {
                "id": "convert_1",
                "provider": "audio_convert",
                "config": {"format": "mp3", "bitrate": 16_000, "piece": 60},
                "input": [{"lane": "audio", "from": "file_1"}],
            },
            {"id": "response_1", "provider": "response", "input": [{"lane": "audio", "from": "convert_1"}]},
        ]
    }
    async with Mesh() as mesh:
        await mesh.deploy("convert", pipeline)
        server = gateway_server(mesh, "127.0.0.1", 0)
        serving = asyncio.create_task(server.run())
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as web:
            good = await web.post("/hooks/convert", content=long, headers={"content-type": "audio/wav"})
            bad = await web.post("/hooks/convert", files={"file": ("call.wav", b"no audio", "audio/wav")})
        server.close()
        await serving
    assert (good.status_code, good.headers["content-type"]) == (200, "audio/mpeg")
    assert seconds_of(good.content) == pytest.approx(300, abs=1)
    assert "recording 1 (call.wav): it cannot be decoded" in bad.text
