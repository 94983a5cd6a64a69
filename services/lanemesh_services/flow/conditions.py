"""Nodes that select and change items by expressions."""

from __future__ import annotations

from typing import Annotated, Any

from lanemesh import Context, In, Json, Node, Out, Whole
from lanemesh.extend import in_thread, to_json
from pydantic import BaseModel, Field

from lanemesh_services.flow.expressions import MAX_EXPRESSION, Expression


class Filter(Node):
    """Passes on the items for which a condition is true, and drops the others. The condition is written in CEL."""

    pip_extra = "flow"
    python_packages = ("celpy",)

    class Config(BaseModel):
        """Settings of a filter."""

        when: str = Field(
            min_length=1,
            max_length=MAX_EXPRESSION,
            description='Condition in CEL over `item`, `text` and `lane`, such as `size(text) > 20 && !text.contains("draft")`.',
        )

    item: Annotated[In[Whole[Any]], "What the condition is about."]
    kept: Annotated[Out[Any], "The items for which it is true."]

    @classmethod
    async def load(cls, config: Any) -> Expression:
        """Compiles the condition. Raises LanemeshError if it is no expression."""
        return await in_thread(Expression, config.when, "when", cls.provider)

    def process(self, context: Context) -> dict[str, Any]:
        """The item, or nothing."""
        return {"kept": self.item} if self.resource.truth(self.item) else {}


class Map(Node):
    """Makes data or text from each item by an expression in CEL."""

    pip_extra = "flow"
    python_packages = ("celpy",)

    class Config(BaseModel):
        """Settings of a map."""

        to: str = Field(
            min_length=1,
            max_length=MAX_EXPRESSION,
            description='Expression in CEL over `item`, `text` and `lane`, such as `{"title": item.metadata.title}`.',
        )

    item: Annotated[In[Whole[Any]], "What the expression is about."]
    data: Annotated[Out[Json], "The value of the expression."]
    text: Annotated[Out[str], "The same: a text as it is, any other value as JSON."]

    @classmethod
    async def load(cls, config: Any) -> Expression:
        """Compiles the expression. Raises LanemeshError if it is none."""
        return await in_thread(Expression, config.to, "to", cls.provider)

    def process(self, context: Context) -> dict[str, Any]:
        """The value of the expression; as `text`, a text as it is and any other value as JSON."""
        value = self.resource.value(self.item)
        return {"data": value, "text": value if isinstance(value, str) else to_json(value)}
