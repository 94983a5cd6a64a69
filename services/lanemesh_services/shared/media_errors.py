"""The errors of images, audio and video that cannot be read. Each message names the item, by its type, size and place in time."""

from __future__ import annotations

from dataclasses import replace

from lanemesh import Code, Fault, LanemeshError, Media


class MediaUnusable(LanemeshError):
    """An image, or a piece of audio or video, cannot be read or made."""


def described(media: Media) -> str:
    """How errors name an item: "the image (image/png, 1,024 bytes, at 2.5 s)"."""
    kind = type(media).__name__.lower()
    facts = [f"{media.mime_type or 'of no type'}"[:100], f"{len(media.content):,} bytes"]
    if media.uri:
        facts[1:] = [f"{media.uri[:200]}"]
    if media.timestamp is not None:
        facts.append(f"at {media.timestamp:g} s")
    article = "" if kind == "audio" else "the "
    return f"{article}{kind} ({', '.join(facts)})"


def of_file(error: MediaUnusable, name: str) -> MediaUnusable:
    """The same error with the name of the file that the item comes from."""
    return MediaUnusable(replace(error.fault, message=f"{name}: {error.fault.message}"))


def no_bytes(media: Media) -> MediaUnusable:
    """An item has no bytes, or only an address."""
    if media.uri:
        message = (
            f"{described(media)} has an address and no bytes, and this node does not fetch addresses. Send the bytes, or "
            "connect a node before that reads the address"
        )
    else:
        message = f"{described(media)} is empty. Check the file that it comes from"
    return _fault("media-empty", message, Code.INVALID_ARGUMENT)


def not_decoded(media: Media | str, why: str, hint: str) -> MediaUnusable:
    """An item is broken, truncated, or of a kind that cannot be read. A text is the description of the item."""
    name = media if isinstance(media, str) else described(media)
    return _fault("media-broken", f"{name} cannot be read: {why.rstrip('.')}. {hint}", Code.INVALID_ARGUMENT)


def not_encoded(what: str, why: str, hint: str) -> MediaUnusable:
    """An item cannot be written in the form that the settings ask for."""
    return _fault("media-not-written", f"{what} cannot be written: {why.rstrip('.')}. {hint}", Code.INVALID_ARGUMENT)


def too_large(media: Media | str, why: str, hint: str) -> MediaUnusable:
    """An item is beyond a limit of size."""
    name = media if isinstance(media, str) else described(media)
    return _fault("media-too-large", f"{name} is too large: {why}. {hint}", Code.RESOURCE_EXHAUSTED)


def _fault(reason: str, message: str, code: Code) -> MediaUnusable:
    return MediaUnusable(Fault(code=code, reason=reason, message=message))
