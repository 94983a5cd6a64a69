"""Makes invoice.png, the input of scan_invoice.pipe: a page that looks scanned. Needs Pillow."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

LINES = (
    ("Harbour Lights Ltd.", 60, 50, 34),
    ("12 Quay Street, Port Ellen", 60, 100, 22),
    ("INVOICE", 560, 50, 40),
    ("Invoice No. HL-2048", 60, 190, 24),
    ("Date: 2026-03-14", 60, 230, 24),
    ("Bill to: Ada Example", 460, 190, 24),
    ("Item", 60, 310, 24),
    ("Qty", 420, 310, 24),
    ("Price", 520, 310, 24),
    ("Amount", 650, 310, 24),
    ("Storm lantern", 60, 360, 24),
    ("2", 430, 360, 24),
    ("45.00", 520, 360, 24),
    ("90.00", 660, 360, 24),
    ("Rope, 10 m", 60, 400, 24),
    ("3", 430, 400, 24),
    ("12.50", 520, 400, 24),
    ("37.50", 660, 400, 24),
    ("Total EUR", 460, 470, 28),
    ("127.50", 650, 470, 28),
)


def invoice() -> Image.Image:
    """The page: text on paper that is not quite white, slightly turned and blurred. The same each time."""
    page = Image.new("L", (820, 580), 250)
    draw = ImageDraw.Draw(page)
    for text, left, top, size in LINES:
        draw.text((left, top), text, fill=35, font=ImageFont.load_default(size=size))
    draw.line((60, 345, 760, 345), fill=90, width=2)
    draw.line((460, 455, 760, 455), fill=90, width=2)
    page = page.rotate(0.6, Image.Resampling.BICUBIC, fillcolor=250).filter(ImageFilter.GaussianBlur(0.6))
    specks = random.Random(14)
    for _ in range(250):
        page.putpixel((specks.randrange(820), specks.randrange(580)), specks.randrange(150, 220))
    return page.quantize(16)


if __name__ == "__main__":
    invoice().save(Path(__file__).with_name("invoice.png"), optimize=True)
