"""A self-contained HTML page of a text, a picture and speech. What it shows is not trusted: all of it is escaped or encoded."""

from __future__ import annotations

import base64
import html
import io
import re
import wave
from typing import TYPE_CHECKING

from lanemesh import Audio

from lanemesh_services.shared.images import encode
from lanemesh_services.shared.media_errors import no_bytes, not_decoded, not_encoded
from lanemesh_services.video.sound import is_pcm

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_BYTES = 15 * 1024 * 1024
"""Greatest page: 15 MiB, so that lanes can carry it as a text."""
SOUNDS = {
    "audio/wav": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/mpeg": "audio/mpeg",
    "audio/mp3": "audio/mpeg",
    "audio/ogg": "audio/ogg",
    "audio/opus": "audio/ogg",
    "audio/webm": "audio/webm",
    "audio/mp4": "audio/mp4",
    "audio/aac": "audio/aac",
    "audio/flac": "audio/flac",
}
"""Media types that browsers play, and the name that the page gives them."""
_STYLE = (
    "body{margin:2rem auto;max-width:42rem;padding:0 1rem;font:1.1rem/1.6 Georgia,serif;color:#222;background:#faf8f4}"
    "img{display:block;max-width:100%;height:auto;margin:0 auto 1.5rem;border-radius:4px}audio{width:100%;margin-top:1rem}"
)


def page(text: str, picture: Picture | None, sound: Audio | None, *, title: str, language: str) -> str:
    """The page.

    Args:
        text: plain text; empty lines separate paragraphs.
        picture: None if it has none.
        sound: None if it has none.
        title: its heading; if it is empty, the first words of the text are the name of the page alone.
        language: the language of the text.

    Raises:
        MediaUnusable: browsers cannot play the sound, or the page is too large.
    """
    name = title or " ".join(text.split()[:8]) or "Page"
    parts = [
        "<!doctype html>",
        f'<html lang="{html.escape(language)}"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; media-src data:; '
        "style-src 'unsafe-inline'\">",
        f"<title>{html.escape(name)}</title><style>{_STYLE}</style></head><body><main>",
    ]
    if title:
        parts.append(f"<h1>{html.escape(title)}</h1>")
    if picture is not None:
        image = encode(picture, "png" if picture.mode == "RGBA" else "jpeg")
        parts.append(
            f'<img alt="{html.escape(name)}" width="{picture.width}" height="{picture.height}" '
            f'src="{_data(image.mime_type, image.content)}">'
        )
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph.strip():
            parts.append(f"<p>{html.escape(paragraph.strip()).replace(chr(10), '<br>')}</p>")
    if sound is not None:
        parts.append(f'<audio controls src="{_data(*_playable(sound))}"></audio>')
    parts.append("</main></body></html>")
    made = "\n".join(parts) + "\n"
    if len(made.encode()) > MAX_BYTES:
        hint = "Shorten the speech, or compress it by audio_convert, or reduce config.max_side"
        raise not_encoded("the page", f"it has {len(made):,} characters, and the limit is {MAX_BYTES:,} bytes", hint)
    return made


def _data(mime_type: str, content: bytes) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def _playable(sound: Audio) -> tuple[str, bytes]:
    """The media type and the bytes of sound for a browser."""
    if not sound.content:
        raise no_bytes(sound)
    if is_pcm(sound):
        if round(sound.rate) < 1:
            raise not_decoded(sound, "it has no sample rate", "Send uncompressed audio with its rate")
        file = io.BytesIO()
        with wave.open(file, "wb") as written:
            written.setnchannels(sound.channels or 1)
            written.setsampwidth(2)
            written.setframerate(round(sound.rate))
            written.writeframes(sound.content)
        return "audio/wav", file.getvalue()
    known = SOUNDS.get(sound.mime_type.partition(";")[0].strip().lower())
    if known is None:
        raise not_decoded(
            sound, "browsers do not play sound of this type", "Connect audio_convert before, with format mp3"
        )
    return known, sound.content
