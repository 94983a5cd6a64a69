"""A speaker who begins again ends the answer at the model, and the next question is answered."""

from __future__ import annotations

import pytest
from lanemesh import Answer, OutputUpdate, Question
from lanemesh_orchestrator import Mesh

pytestmark = pytest.mark.timeout(120)

PIPELINE = {
    "components": [
        {"id": "speaker", "provider": "webhook"},
        {
            "id": "turn",
            "provider": "barge_in",
            "input": [
                {"lane": "questions", "from": "speaker"},
                {"lane": "data", "from": "speaker", "input": "interrupt"},
            ],
        },
        {
            "id": "model",
            "provider": "llm_scripted",
            "config": {"script": ["word " * 1_000], "delay": 0.01},
            "control": [{"classType": "llm", "from": "turn"}],
        },
        {"id": "out", "provider": "response", "input": [{"lane": "answers", "from": "turn"}]},
    ],
}


async def test_the_answer_that_is_generated_is_cancelled_and_the_run_goes_on() -> None:
    answers: list[Answer] = []
    async with Mesh() as mesh, mesh.run(PIPELINE, open_input=True) as run:
        await run.push(Question("Tell me all of it."), port="questions")
        async for update in run.updates():
            if not isinstance(update, OutputUpdate):
                continue
            answers.append(update.value)
            if len(answers) == 1:
                await run.push({"event": "start"}, port="data")
                await run.push({"event": "end"}, port="data")
                await run.end_input()
        assert run.state == "completed"

    assert answers[0].text
    assert answers[-1].finish_reason == "cancelled"
    assert sum(answer.text.count("word") for answer in answers) < 1_000
