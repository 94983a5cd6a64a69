"""Node types that answer what is written, shown and said in a chat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lanemesh import Answer, Audio, Context, In, Node, Out, Question
from pydantic import BaseModel

MARKDOWN = """## Packing list

Take **warm** clothes:

1. a coat
2. `boots`

```python
print("rain")
```

| city | degrees |
|---|---|
| Oslo | 9 |

"""


class Drip(Node):
    """Answers in Markdown, then with one number after the other, until it is cancelled or has counted to its end."""

    class Config(BaseModel):
        count: int = 1_000_000
        pause: float = 0.02

    questions: In[Question]
    answers: Out[Answer]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Answer]]:
        for piece in MARKDOWN.splitlines(keepends=True):
            yield "answers", Answer(piece)
        for number in range(self.config.count):
            yield "answers", Answer(f"{number} ")
            await asyncio.sleep(self.config.pause)
        yield "answers", Answer("end", finish_reason="stop")


class Describe(Node):
    """Answers with the files of a question."""

    questions: In[Question]
    answers: Out[Answer]

    async def process(self, context: Context) -> Answer:
        images = [f"{one.mime_type} of {len(one.content)} bytes" for one in self.questions.images]
        documents = [f"{one.source}: {one.content}" for one in self.questions.documents]
        return Answer(f"text: {self.questions.text}; images: {images}; documents: {documents}", finish_reason="stop")


class Listen(Node):
    """Answers with the kind of a recording."""

    audio: In[Audio]
    heard: Out[str]

    async def process(self, context: Context) -> str:
        return f"heard {self.audio.mime_type}, {'some' if self.audio.content else 'no'} bytes"
