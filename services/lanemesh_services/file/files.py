"""`file`: sends the files of a client."""

from __future__ import annotations

from lanemesh import Audio, Context, Document, Image, Inputs, Node, Out, Outputs, Tags, Video

from lanemesh_services.file.sending import Forms, file_forms, send_inputs


class File(Node):
    """Sends the client's files into the pipeline: texts as text and documents, media by their type, and files of other types as
    documents for `parse`. `tags` has every file as RocketRide's documents expect it.

    If the output of a media type is not connected, a file of it is sent as a document.
    """

    boundary = "source"
    aliases = ("dropper",)

    text: Out[str]
    documents: Out[Document]
    image: Out[Image]
    audio: Out[Audio]
    video: Out[Video]
    tags: Out[Tags]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each file by every connected output that can carry it, or by the one that the client names."""
        await send_inputs(context, outputs, _forms, "a file")


def _forms(value: object, lane: str, name: str) -> Forms:
    return Forms() if lane == "data" else file_forms(value, name)
