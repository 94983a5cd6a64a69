"""`webhook`: sends the bodies of requests."""

from __future__ import annotations

from lanemesh import Audio, Context, Document, Image, Inputs, Json, Node, Out, Outputs, Question, Video

from lanemesh_services.file.sending import Forms, send_inputs


class Webhook(Node):
    """Sends what clients post into the pipeline: JSON as data, text as text and documents, media by their type.

    If neither text nor documents is connected, a text is sent as a question.
    """

    boundary = "source"

    data: Out[Json]
    text: Out[str]
    questions: Out[Question]
    image: Out[Image]
    audio: Out[Audio]
    video: Out[Video]
    documents: Out[Document]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each input by every connected output that can carry it, or by the one that the client names."""
        await send_inputs(context, outputs, _forms, "an input", fallback="questions")


def _forms(value: object, lane: str) -> Forms:
    """The input for each output that can carry it."""
    if lane == "data":
        return {"data": value}
    match value:
        case Question():
            return {"questions": value}
        case Document():
            return {"documents": value, "text": value.content}
        case str():
            return {"text": value, "documents": Document(value), "questions": Question(value)}
        case Image():
            return {"image": value}
        case Audio():
            return {"audio": value}
        case Video():
            return {"video": value}
    return {}
