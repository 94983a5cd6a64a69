"""`lanemesh run` asks for approvals on a terminal."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import pytest

from rigs.commands import TIMEOUT, Command

NODES = '''
from lanemesh import Context, In, Node, Out


class Careful(Node):
    """Asks for an approval."""

    text: In[str]
    decision: Out[str]

    async def process(self, context: Context):
        decision = await context.approval(f"send {self.text}", tool="mail.send", call_id="c1")
        return "approved" if decision else f"refused: {decision.reason}"
'''


def ask(folder: Path, *answers: str) -> tuple[str, str]:
    """Runs the pipeline with a terminal for questions. Returns its outputs, and what the terminal shows."""
    (folder / "nodes.py").write_text(NODES)
    middle = {"id": "m", "provider": "careful", "input": [{"lane": "text", "from": "chat"}]}
    last = {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "m"}]}
    document = {"components": [{"id": "chat", "provider": "chat"}, middle, last]}
    (folder / "careful.pipe").write_text(json.dumps(document))
    end, own = pty.openpty()
    words = ("run", "careful.pipe", "--nodes", "nodes.py", "--input", "mail")
    process = Command(*words, folder=folder, stdin=own, stderr=own)
    os.close(own)
    shown, waiting = "", list(answers)
    asked = 0
    while True:
        try:
            shown += os.read(end, 4096).decode()
        except OSError:  # the command has ended
            break
        questions = shown.count("[y/n]") + shown.count("Answer y or n.")
        if questions > asked and waiting:
            asked = questions
            os.write(end, f"{waiting.pop(0)}\n".encode())
    outputs = process.communicate(timeout=TIMEOUT)[0]
    os.close(end)
    assert process.returncode == 0
    return outputs, shown


@pytest.mark.parametrize(
    ("answers", "output"),
    [(("y",), "approved\n"), (("perhaps", "n"), "refused: refused by the user\n")],
    ids=["approved", "refused after a wrong answer"],
)
def test_run_asks_on_the_terminal(tmp_path: Path, answers: tuple[str, ...], output: str) -> None:
    outputs, shown = ask(tmp_path, *answers)
    assert outputs == output
    assert "waits for an approval: send mail" in shown
