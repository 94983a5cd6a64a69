"""`image_convert`: what its settings do to the pixels."""

from __future__ import annotations

import pytest
from lanemesh import Image
from lanemesh.testing import run_node
from lanemesh_services.pictures.convert import ImageConvert
from lanemesh_services.shared.images import RAW
from lanemesh_services.shared.media_errors import MediaUnusable
from PIL import ExifTags
from PIL import Image as pillow
from pydantic import ValidationError

from rigs.pictures import gradient, image_of, picture_of


def converted(image: Image, **config: object) -> Image:
    (result,) = run_node(ImageConvert, image=image, config=config).converted
    assert isinstance(result, Image)
    return result


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif", "bmp", "tiff", "avif"])
def test_every_format_is_written_and_read_again(form: str) -> None:
    result = converted(image_of(gradient()), format=form)
    assert (result.mime_type, result.width, result.height) == (f"image/{form}", 64, 48)
    again = picture_of(converted(result, format="png")).convert("RGB")
    red, green, blue = again.getpixel((60, 5))
    assert red > 200
    assert green < 60
    assert 60 < blue < 130


def test_the_format_and_the_place_in_time_are_kept() -> None:
    given = image_of(gradient(), "jpeg")
    result = converted(Image(given.mime_type, given.content, timestamp=2.5, rate=25))
    assert (result.mime_type, result.timestamp, result.rate) == ("image/jpeg", 2.5, 25)


def test_an_uncompressed_image_has_three_bytes_a_pixel_and_is_read_again() -> None:
    raw = converted(image_of(gradient()), format="raw")
    assert (raw.mime_type, len(raw.content)) == (RAW, 64 * 48 * 3)
    assert picture_of(converted(raw, format="png")).tobytes() == gradient().tobytes()


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"width": 32}, (32, 24)),
        ({"height": 12}, (16, 12)),
        ({"width": 20, "height": 20}, (20, 15)),
        ({"width": 20, "height": 20, "fit": "cover"}, (20, 20)),
        ({"width": 20, "height": 20, "fit": "pad"}, (20, 20)),
        ({"width": 20, "height": 30, "fit": "stretch"}, (20, 30)),
        ({"width": 640}, (64, 48)),
        ({"width": 640, "enlarge": True}, (640, 480)),
        ({"width": 200, "height": 200, "fit": "cover"}, (48, 48)),
        ({"rotate": 90}, (48, 64)),
        ({"crop": {"left": 10, "top": 8, "width": 20, "height": 16}}, (20, 16)),
        ({"crop": {"left": 0.5, "width": 0.5, "height": 1, "relative": True}}, (32, 48)),
        ({"crop": {"left": 60, "top": 40, "width": 100, "height": 100}}, (4, 8)),
    ],
)
def test_sizes(config: dict[str, object], size: tuple[int, int]) -> None:
    result = converted(image_of(gradient()), **config)
    assert (result.width, result.height) == size == picture_of(result).size


def test_it_turns_clockwise_and_mirrors() -> None:
    corner = pillow.new("RGB", (8, 8), "black")
    corner.putpixel((0, 0), (255, 255, 255))
    assert picture_of(converted(image_of(corner), rotate=90)).getpixel((7, 0)) == (255, 255, 255)
    assert picture_of(converted(image_of(corner), flip="vertical")).getpixel((0, 7)) == (255, 255, 255)
    slanted = picture_of(converted(image_of(corner), rotate=45, background="#00ff00"))
    assert slanted.width > 8
    assert slanted.getpixel((0, 0)) == (0, 255, 0)


def test_padding_has_the_colour_that_is_asked_for() -> None:
    padded = picture_of(converted(image_of(gradient()), width=60, height=60, fit="pad", background="#0000ff"))
    assert padded.getpixel((30, 0)) == (0, 0, 255)


def test_a_photo_is_upright_and_its_data_are_dropped_unless_they_are_asked_for() -> None:
    exif = pillow.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Camera"
    photo = image_of(gradient(), "jpeg", exif=exif.tobytes())
    assert converted(photo).width == 48
    assert not picture_of(converted(photo)).getexif()
    kept = picture_of(converted(photo, exif=True))
    assert dict(kept.getexif()) == {ExifTags.Base.Make: "Camera"}
    assert kept.size == (48, 64)


def test_transparent_parts_are_white_in_formats_without_transparency() -> None:
    clear = image_of(pillow.new("RGBA", (4, 4), (255, 0, 0, 0)))
    assert picture_of(converted(clear)).getpixel((0, 0)) == (255, 0, 0, 0)
    assert picture_of(converted(clear, format="bmp")).getpixel((0, 0)) == (255, 255, 255)


def test_the_frames_of_an_animation_have_their_times() -> None:
    colours = [pillow.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    animation = image_of(colours[0], "gif", save_all=True, append_images=colours[1:], duration=250)
    frames = run_node(ImageConvert, image=animation, config={"frames": "all", "format": "png"}).converted
    assert [frame.timestamp for frame in frames] == [0.0, 0.25, 0.5]
    assert [picture_of(frame).convert("RGB").getpixel((1, 1)) for frame in frames] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    ]


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs both width and height"):
        run_node(ImageConvert, image=image_of(gradient()), config={"fit": "pad", "width": 10})
    with pytest.raises(ValidationError, match="Extra inputs"):
        ImageConvert.Config.model_validate({"crop": {"width": 1, "height": 1, "rihgt": 2}})


@pytest.mark.parametrize(
    "config",
    [{"fit": "contain"}, {"fit": "stretch"}, {"fit": "pad", "height": 16_000}, {"fit": "cover", "height": 16_000}],
)
def test_a_result_with_too_many_pixels_is_refused_before_it_is_made(config: dict[str, object]) -> None:
    tall = image_of(pillow.new("L", (1, 20_000)))
    with pytest.raises(MediaUnusable, match="the limit is 50,000,000 pixels"):
        converted(tall, width=16_000, enlarge=True, **config)
