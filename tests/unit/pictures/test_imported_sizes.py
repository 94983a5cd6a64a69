"""Images get from an imported component the size that NodeTool's node gives them."""

from __future__ import annotations

import io

import pytest
from lanemesh import Image
from lanemesh.testing import run_node
from lanemesh_orchestrator.importing.nodetool import from_nodetool
from lanemesh_services.pictures.convert import ImageConvert
from PIL import Image as pillow


def converted_by(kind: str, size: tuple[int, int], **data: int) -> tuple[int, int]:
    """The size of an image after the component that takes the place of a node."""
    node = {"id": "1", "parent_id": None, "type": kind, "data": data}
    (component,) = from_nodetool({"name": "", "graph": {"nodes": [node], "edges": []}}).document["components"]
    content = io.BytesIO()
    pillow.new("RGB", size).save(content, "PNG")
    (image,) = run_node(
        ImageConvert, config=component["config"], image=Image("image/png", content.getvalue()), timeout=60
    ).converted
    return image.width, image.height


@pytest.mark.parametrize("kind", ["nodetool.image.Resize", "nodetool.image.Fit"])
def test_an_image_gets_the_size_that_the_node_gives_it(kind: str) -> None:
    assert converted_by(kind, (100, 50), width=64, height=64) == (64, 64)
    assert converted_by(kind, (16, 16), width=64, height=64) == (64, 64)
    assert converted_by(kind, (100, 50), width=40) == (40, 512)
