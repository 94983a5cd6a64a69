"""Files whose text has not been read: from the sources, the command line and uploads to a parse."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Document, Image, Media, Mesh, RunFailed

from rigs import commands
from rigs.gateways import gateway

PDF = Media("application/pdf", b"%PDF-1.7 \xff\xfe")
PLAIN = {"content-type": "text/plain"}


def delivering(source: str, *lanes: str) -> dict[str, Any]:
    """A source whose outputs are delivered, each to a target named after its lane."""
    targets = [
        {"id": lane, "provider": "response", "config": {"lane": lane}, "input": [{"lane": lane, "from": "in"}]}
        for lane in lanes
    ]
    return {"components": [{"id": "in", "provider": source}, *targets]}


@pytest.mark.parametrize("source", ["file", "dropper", "webhook"])
async def test_a_source_sends_a_file_as_a_document_and_as_tags(source: str) -> None:
    given = Document("", source="a.pdf", file=PDF)
    async with Mesh() as mesh:
        result = await mesh.run(delivering(source, "documents", "text", "tags"), input=given).result()
    assert result["documents"] == (given,)
    (tags,) = result["tags"]
    assert (tags["name"], tags["mime_type"]) == ("a.pdf", "application/pdf")
    assert base64.b64decode(tags["content_base64"]) == PDF.content
    assert "text" not in {output.component for output in result.outputs}


async def test_media_are_documents_only_if_their_own_output_is_not_connected() -> None:
    picture = Image("image/png", b"\x89PNG")
    async with Mesh() as mesh:
        both = await mesh.run(delivering("file", "image", "documents"), input=picture).result()
        assert {output.component for output in both.outputs} == {"image"}
        alone = await mesh.run(delivering("file", "documents"), input=picture).result()
    assert alone["documents"] == (Document("", file=Media("image/png", b"\x89PNG")),)


async def test_a_file_that_no_connected_output_carries_is_an_error_that_says_so() -> None:
    async with Mesh() as mesh:
        run = mesh.run(delivering("file", "text"), input=Document("", source="a.pdf", file=PDF))
        result = await run.result()
    assert result.error is not None
    assert "can be sent by documents, tags, but connected is text" in result.error.message
    with pytest.raises(RunFailed):
        result.raise_for_state()


async def test_uploads_of_any_type_are_documents_with_their_names() -> None:
    async with Mesh() as mesh:
        await mesh.deploy("files", delivering("webhook", "documents"))
        async with gateway(mesh) as client:

            async def posted(*files: tuple[str, bytes, str]) -> Any:
                answer = await client.post("/hooks/files", files=[("file", file) for file in files])
                assert answer.status_code == 200, answer.text
                return answer.json()

            pdf = await posted(("a.pdf", PDF.content, "application/pdf"))
            assert (pdf["source"], pdf["file"]["mime_type"]) == ("a.pdf", "application/pdf")
            assert base64.b64decode(pdf["file"]["content"]) == PDF.content
            text = await posted(("a.txt", "höhe".encode(), "text/plain"))
            assert (text["source"], text["content"]) == ("a.txt", "höhe")
            latin = await posted(("a.txt", "höhe".encode("latin-1"), "text/plain"))
            assert base64.b64decode(latin["file"]["content"]) == "höhe".encode("latin-1")
            large = await posted(("b.bin", bytes(9 * 1024 * 1024), "application/octet-stream"))
            assert len(base64.b64decode(large["file"]["content"])) == 9 * 1024 * 1024
            data = await posted(("a.json", b"{}", "application/json"))
            assert data["file"]["mime_type"] == "application/json"
            empty = await client.post("/hooks/files", files=[("file", ("e.pdf", b"", "application/pdf"))])
            assert empty.status_code == 400
            assert "is empty" in empty.text


async def test_a_large_file_cannot_leave_by_tags() -> None:
    async with Mesh() as mesh:
        await mesh.deploy("tags", delivering("webhook", "tags"))
        async with gateway(mesh) as client:
            small = await client.post("/hooks/tags", content=PDF.content, headers={"content-type": "application/pdf"})
            assert small.json()["mime_type"] == "application/pdf"
            large = await client.post(
                "/hooks/tags", content=bytes(9 * 1024 * 1024), headers={"content-type": "application/pdf"}
            )
            assert large.status_code == 502
            assert "Connect the output documents" in large.text


def test_a_file_of_the_command_line_reaches_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(PDF.content)
    (tmp_path / "files.pipe").write_text(json.dumps(delivering("dropper", "documents")))
    lines = commands.run("run", "files.pipe", "--file", "a.pdf", "--json", folder=tmp_path).stdout.splitlines()
    (output,) = [update for line in lines if (update := json.loads(line))["update"] == "output"]
    assert output["value"]["source"] == "a.pdf"
    assert output["value"]["file"]["mime_type"] == "application/pdf"
