"""A node that drops repeated items."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs, Whole
from lanemesh.extend import ABSENT, in_thread
from pydantic import BaseModel, Field

from lanemesh_services.flow.expressions import MAX_EXPRESSION, Expression
from lanemesh_services.flow.values import content_hash

MAX_REMEMBERED = 1_000_000
"""Most items that are remembered to find repeated ones."""


class Dedupe(Node):
    """Drops items that it has seen before in the run: those with equal contents, or with an equal key."""

    pip_extra = "flow"
    python_packages = ("celpy",)

    class Config(BaseModel):
        """Settings of the search for repeated items."""

        key: str = Field(
            "", max_length=MAX_EXPRESSION, description="Key in CEL, such as `item.source`; default: the whole content."
        )
        remember: int = Field(
            100_000,
            ge=1,
            le=MAX_REMEMBERED,
            description="How many different items are remembered; the oldest are forgotten.",
        )

    item: Annotated[In[Whole[Any]], "What may be repeated."]
    first: Annotated[Out[Any], "The first item of each content or key."]

    @classmethod
    async def load(cls, config: Any) -> Expression | None:
        """Compiles the key. Raises LanemeshError if it is no expression."""
        return await in_thread(Expression, config.key, "key", cls.provider) if config.key else None

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Passes on the first item of each key."""
        seen: OrderedDict[bytes, None] = OrderedDict()
        dropped = 0
        async for _, item in inputs.iter_items():
            if item.value is ABSENT:
                continue
            key = await in_thread(self._key, item.value)
            if key in seen:
                seen.move_to_end(key)
                dropped += 1
            else:
                seen[key] = None
                if len(seen) > self.config.remember:
                    seen.popitem(last=False)
                await outputs.emit("first", item.value, source=item)
            await outputs.done_with(item)
        if dropped:
            context.log.info("dropped %d repeated items", dropped)

    def _key(self, value: Any) -> bytes:
        return content_hash(value if self.resource is None else self.resource.value(value))
