"""The `file` service: sends the files of a client into the pipeline, each on the lane of its type."""

from __future__ import annotations

from typing import Any

from lanemesh import Audio, Context, Document, Image, Inputs, Node, Out, Outputs, Service, Video


class File(Node):
    """Sends the client's files into the pipeline: text as text and documents, media by their type."""

    boundary = "source"

    text: Out[str]
    documents: Out[Document]
    image: Out[Image]
    audio: Out[Audio]
    video: Out[Video]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each file by every connected output that can carry it, or by the one that the client names."""
        async for given in context.client.inputs(context.component):
            if not given.has_value:
                continue
            forms = _forms(given.item.value)
            ports = [given.port] if given.port else [port for port in forms if port in context.connected_outputs]
            if not set(ports) & forms.keys():
                connected = ", ".join(sorted(context.connected_outputs)) or "nothing"
                raise TypeError(
                    f"a file of type {given.kind} can be sent by {', '.join(forms) or 'no output'}, but connected is {connected}. "
                    "Connect one of these outputs, or use another file"
                )
            for port in ports:
                await outputs.emit(port, forms[port], given.item.envelope)


def _forms(value: Any) -> dict[str, Any]:
    """The value of a file for each output that can carry it."""
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


SERVICE = Service("file", [File])
