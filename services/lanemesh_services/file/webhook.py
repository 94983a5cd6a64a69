"""`webhook`: sends the bodies of requests."""

from __future__ import annotations

from lanemesh import Audio, Context, Document, Image, Inputs, Json, Node, Out, Outputs, Question, Tags, Video

from lanemesh_services.file.sending import Forms, file_forms, send_inputs


class Webhook(Node):
    """Sends what clients post into the pipeline: JSON as data, texts as text and documents, media by their type, and files of other
    types as documents for `parse`. `tags` has files as RocketRide's documents expect them.

    If neither text nor documents is connected, a text is sent as a question. If the output of a media type is not connected, a
    file of it is sent as a document.
    """

    boundary = "source"

    data: Out[Json]
    text: Out[str]
    questions: Out[Question]
    image: Out[Image]
    audio: Out[Audio]
    video: Out[Video]
    documents: Out[Document]
    tags: Out[Tags]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each input by every connected output that can carry it, or by the one that the client names."""
        await send_inputs(context, outputs, _forms, "an input")


def _forms(value: object, lane: str, name: str) -> Forms:
    """The input for each output that can carry it."""
    if lane == "data":
        return Forms({"data": value})
    if isinstance(value, Question):
        return Forms({"questions": value})
    forms = file_forms(value, name)
    if isinstance(value, str):
        tags = {"tags": forms.direct["tags"]}
        return Forms(
            {port: one for port, one in forms.direct.items() if port != "tags"}, {"questions": Question(value), **tags}
        )
    return forms
