"""The `chat` service: what a person types becomes questions."""

from __future__ import annotations

from lanemesh import Context, Inputs, Node, Out, Outputs, Question, Service


class Chat(Node):
    """Hands the client's turns to the pipeline, as questions and as plain text."""

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
                    f"a chat takes text and questions, not {given.kind}. Feed other things to a `file` source"
                )
            text = question.text if question is not None else given.item.value
            wanted = [given.port] if given.port else sorted(context.connected_outputs)
            for port in wanted:
                value = text if port == "text" else question or Question(text)
                await outputs.emit(port, value, given.item.envelope)


SERVICE = Service("chat", [Chat])
