"""The `chat` service: sends the texts of a user as questions."""

from __future__ import annotations

from lanemesh import Context, Inputs, Node, Out, Outputs, Question, Service


class Chat(Node):
    """Sends the client's turns into the pipeline, as questions and as plain text."""

    boundary = "source"

    questions: Out[Question]
    text: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each input by every connected output, or by the one that the client names."""
        async for given in context.client.inputs(context.component):
            if not given.has_value:
                continue
            question = given.item.value if isinstance(given.item.value, Question) else None
            if question is None and not isinstance(given.item.value, str):
                raise TypeError(
                    f"a chat accepts text and questions, not {given.kind}. Send other inputs to a `file` source"
                )
            text = question.text if question is not None else given.item.value
            wanted = [given.port] if given.port else sorted(context.connected_outputs)
            for port in wanted:
                value = text if port == "text" else question or Question(text)
                await outputs.emit(port, value, given.item.envelope)


SERVICE = Service("chat", [Chat])
