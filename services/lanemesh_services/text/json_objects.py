"""Finds JSON objects in a stream of text, each as soon as it is complete."""

from __future__ import annotations

from typing import Annotated, Any

from lanemesh import Code, Context, Fault, In, Inputs, LanemeshError, Node, Out, Outputs
from pydantic import BaseModel, Field

from lanemesh_services.text.json_scanner import JsonScanner, TooLong


class JsonObjects(Node):
    """Sends each JSON object in a stream of text as soon as it is complete, while the rest still arrives.

    Text around the objects is skipped, including Markdown fences; braces that open no JSON object are text. An object inside
    another one is part of it. An object that is truncated by the end of the text is dropped with a warning.
    """

    class Config(BaseModel):
        """Settings of the search."""

        size: int = Field(
            1_000_000,
            ge=2,
            le=10_000_000,
            description="Maximum length of an object in characters; a longer one is an error.",
        )

    text: Annotated[In[str], "Text in pieces of any size, such as a model's tokens."]
    objects: Annotated[Out[dict[str, Any]], "The objects, in the order of their ends."]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each object when its last brace has arrived."""
        scanner = JsonScanner(self.config.size)
        async for piece in inputs.stream("text"):
            try:
                found = scanner.push(piece)
            except TooLong as error:
                raise self._too_long(context, error) from None
            for value in found:
                await outputs.emit("objects", value)
            for problem in scanner.left_out:
                context.log.warning("a JSON object is dropped: %s", problem)
            scanner.left_out.clear()
        if rest := scanner.finish():
            context.log.warning("the text ended within a JSON object, which is dropped: %s", f"{rest:.80}")

    def _too_long(self, context: Context, error: TooLong) -> LanemeshError:
        message = (
            f"{context.component}: a JSON object is longer than {self.config.size:,} characters; it begins with {error.begin!r}. "
            "Raise config.size, or request smaller objects"
        )
        return LanemeshError(Fault(code=Code.RESOURCE_EXHAUSTED, reason="object-too-long", message=message))
