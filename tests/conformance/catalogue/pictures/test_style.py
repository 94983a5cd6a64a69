"""`image_style` with the models of its library."""

from __future__ import annotations

import pytest
from lanemesh.testing import run_node
from lanemesh_services.pictures.style import ImageStyle
from lanemesh_services.shared.errors import ModelUnusable
from lanemesh_services.shared.media_errors import MediaUnusable

from rigs.pictures import gradient, image_of, noise, picture_of

pytestmark = pytest.mark.model


def test_intermediate_images_grow_and_styles_differ() -> None:
    photo = image_of(gradient(160, 120))
    result = run_node(ImageStyle, image=photo, config={"style": "7", "max_side": 160}, timeout=60)
    assert [picture_of(image).width for image in (*result.steps, *result.styled)] == [40 + 0, 80, 160]
    assert picture_of(result.styled[0]).tobytes() != gradient(160, 120).tobytes()
    blend = run_node(ImageStyle, image=photo, config={"style": "3:0.5,12:0.5", "max_side": 160}, timeout=60)
    assert blend.styled != result.styled
    again = run_node(ImageStyle, image=photo, config={"style": "7", "max_side": 160}, timeout=60)
    assert again.styled == result.styled


def test_another_picture_gives_the_style() -> None:
    arrivals = [("style", image_of(noise(64, 64))), ("image", image_of(gradient(64, 64)))]
    result = run_node(ImageStyle, arrivals=arrivals, config={"previews": 0}, timeout=60)
    assert [len(result.steps), len(result.styled)] == [0, 1]


def test_small_images_and_unknown_styles_are_refused() -> None:
    with pytest.raises(MediaUnusable, match="at least 32 x 32"):
        run_node(ImageStyle, image=image_of(gradient(20, 20)), timeout=60)
    with pytest.raises(ModelUnusable, match="from 0 to 25"):
        run_node(ImageStyle, image=image_of(gradient()), config={"style": "26"}, timeout=60)
