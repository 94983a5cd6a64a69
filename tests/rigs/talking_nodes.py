"""Nodes that answer with the history that they get."""

from __future__ import annotations

from collections.abc import Iterator

from lanemesh import Answer, Context, In, Node, Out, Question


class Recall(Node):
    """Answers with the texts of the history and of the question, in pieces. A question "fail" fails."""

    questions: In[Question]
    answers: Out[Answer]

    def gen_process(self, context: Context) -> Iterator[tuple[str, Answer]]:
        if self.questions.text == "fail":
            raise ValueError("asked to fail")
        for message in self.questions.history:
            yield "answers", Answer(f"{message.role}:{message.content}|")
        yield "answers", Answer(f"now:{self.questions.text}", finish_reason="stop")
