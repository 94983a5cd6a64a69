"""`file`: sends the files of a client."""

from __future__ import annotations

from lanemesh import Audio, Context, Document, Image, Inputs, Node, Out, Outputs, Video

from lanemesh_services.file.sending import Forms, send_inputs


class File(Node):
    """Sends the client's files into the pipeline: text as text and documents, media by their type."""

    boundary = "source"
    aliases = ("dropper",)

    text: Out[str]
    documents: Out[Document]
    image: Out[Image]
    audio: Out[Audio]
    video: Out[Video]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each file by every connected output that can carry it, or by the one that the client names."""
        await send_inputs(context, outputs, _forms, "a file")


def _forms(value: object, lane: str) -> Forms:
    """The value of a file for each output that can carry it."""
    if lane == "data":
        return {}
    match value:
        case Document():
            return {"documents": value, "text": value.content}
        case str():
            return {"text": value, "documents": Document(value)}
        case Image():
            return {"image": value}
        case Audio():
            return {"audio": value}
        case Video():
            return {"video": value}
    return {}
