"""Images that are broken, huge or unusual: an error that names the image, or the right pixels."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest
from lanemesh import Image
from lanemesh.testing import run_node
from lanemesh_services.pictures.convert import ImageConvert
from lanemesh_services.shared.media_errors import MediaUnusable
from PIL import Image as pillow

from rigs.pictures import gradient, image_of, noise, picture_of


def huge_png(width: int, height: int) -> bytes:
    """The header of a PNG file of this size, with no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def sixteen_bits() -> Image:
    """A grey PNG whose pixels have 16 bits."""
    picture = pillow.new("I;16", (2, 1))
    picture.putpixel((0, 0), 0)
    picture.putpixel((1, 0), 0xFFFF // 2)
    return image_of(picture)


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (b"", "media-empty", "is empty"),
        (b"no image" * 20, "media-broken", "no image of a known format"),
        (image_of(noise()).content[:3000], "media-broken", "truncated"),
        (image_of(noise(), "jpeg").content[:3000], "media-broken", "truncated"),
        (image_of(noise(), "webp").content[:300], "media-broken", "cannot be read"),
        (image_of(noise(), "gif").content[:300], "media-broken", "cannot be read"),
        (b"\xff\xd8\xff\xe0abc", "media-broken", "cannot be read"),
        (huge_png(20_000, 20_000), "media-too-large", "178,956,970 pixels"),
        (huge_png(9_000, 9_000), "media-too-large", "9,000 x 9,000 pixels, and the limit is 50,000,000"),
        (huge_png(0, 10), "media-broken", "cannot be read"),
        (image_of(pillow.new("F", (4, 4)), "tiff").content, "media-broken", "floating-point"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "media-broken", "no image of a known format"),
    ],
)
def test_the_error_names_the_image_and_the_others_go_on(content: bytes, reason: str, says: str) -> None:
    bad = Image("image/png", content, timestamp=1.5)
    result = run_node(ImageConvert, image=[bad, image_of(gradient())], on_error="skip")
    assert (len(result.converted), result.skipped) == (1, 1)
    with pytest.raises(MediaUnusable) as caught:
        run_node(ImageConvert, image=bad)
    assert caught.value.fault.reason == reason
    assert says in str(caught.value)
    assert f"the image (image/png, {len(content):,} bytes, at 1.5 s)" in str(caught.value)


def test_an_address_is_not_fetched() -> None:
    with pytest.raises(MediaUnusable, match="does not fetch addresses"):
        run_node(ImageConvert, image=Image("image/png", uri="file:///etc/passwd"))


def test_an_uncompressed_image_of_another_size_is_refused() -> None:
    with pytest.raises(MediaUnusable, match="are 300 bytes"):
        run_node(ImageConvert, image=Image("image/x-raw;format=rgb24", b"abc", width=10, height=10))


def test_a_huge_jpeg_is_reduced_while_it_is_decoded() -> None:
    photo = image_of(pillow.new("L", (4_000, 4_000), 200), "jpeg")
    tracemalloc.start()
    result = run_node(ImageConvert, image=photo, config={"max_pixels": 1_000_000, "format": "png"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (reduced,) = result.converted
    assert (reduced.width, reduced.height) == (1_000, 1_000)
    assert peak < 4_000_000
    with pytest.raises(MediaUnusable, match="500 x 500 pixels, and the limit is 10 pixels"):
        run_node(ImageConvert, image=photo, config={"max_pixels": 10})


def test_cmyk_and_sixteen_bits_and_palettes_have_the_right_colours() -> None:
    inks = pillow.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert picture_of(
        run_node(ImageConvert, image=image_of(inks, "tiff"), config={"format": "png"}).converted[0]
    ).getpixel((1, 1)) == (255, 0, 0)
    grey = picture_of(run_node(ImageConvert, image=sixteen_bits()).converted[0])
    assert (grey.getpixel((0, 0)), grey.getpixel((1, 0))) == (0, 127)
    palette = gradient().quantize(16)
    assert picture_of(run_node(ImageConvert, image=image_of(palette)).converted[0]).mode == "RGB"


def test_a_crop_outside_of_the_image_is_an_error() -> None:
    crop = {"left": 100, "width": 10, "height": 10}
    with pytest.raises(MediaUnusable, match=r"begins at 100, 0, and the image has 64 x 48 pixels"):
        run_node(ImageConvert, image=image_of(gradient()), config={"crop": crop})


def test_a_format_that_cannot_hold_the_size_is_an_error() -> None:
    wide = image_of(pillow.new("L", (16_390, 1)))
    with pytest.raises(MediaUnusable, match="as webp cannot be written"):
        run_node(ImageConvert, image=wide, config={"format": "webp"})
