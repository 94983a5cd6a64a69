"""Nodes that wait for approvals."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from lanemesh import Context, In, Node, Out
from pydantic import BaseModel


class Careful(Node):
    """Asks for an approval of each text, and emits the decision."""

    class Config(BaseModel):
        """Settings."""

        timeout: float = 60.0
        secret: str = ""
        call_id: str = "c1"

    text: Annotated[In[str], "Texts."]
    result: Annotated[Out[str], "Decisions."]

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Asks once per text."""
        decision = await context.approval(
            f"send {self.text}",
            tool="mail.send",
            arguments=f'{{"to": "{self.text}", "key": "{self.config.secret}"}}',
            call_id=self.config.call_id,
            timeout=self.config.timeout,
        )
        yield "result", "approved" if decision else f"refused: {decision.reason}"
