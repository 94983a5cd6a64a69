"""The conformance suite of the MCP project against `lanemesh mcp`, for both eras of the protocol.

What a pipeline can offer is a pipeline here: text, images, audio, documents, mixtures, errors, progress and logs. What asks the
client in the middle of a call, resources, prompts and completion come from the file of `--with`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rigs.mcp_mesh import ADDITIONS, content, job, mcp_over_http, mesh
from rigs.mcp_suite import judge
from rigs.npm_packages import npm

pytestmark = [
    pytest.mark.skipif(npm() is None, reason="the suite is an npm package, and there is no npm here"),
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

PIPELINES = {
    "test_simple_text": content({"text": "This is a simple text response for testing."}),
    "test_image_content": content({"image": 1}),
    "test_audio_content": content({"audio": 1}),
    "test_embedded_resource": content(
        {
            "document": "This is an embedded resource content.",
            "uri": "test://embedded-resource",
            "mime_type": "text/plain",
        }
    ),
    "test_multiple_content_types": content(
        {"text": "Multiple content types test:"},
        {"image": 1},
        {
            "document": '{"test":"data","value":123}',
            "uri": "test://mixed-content-resource",
            "mime_type": "application/json",
        },
    ),
    "test_tool_with_logging": content(
        {"log": "Tool execution started"}, {"log": "Tool processing data"}, {"log": "Tool execution completed"}
    ),
    "test_tool_with_progress": content({"progress": 0}, {"progress": 50}, {"progress": 100}, {"text": "done"}),
    "greet": job({"name": {"type": "string"}}, text="Hello, {name}!"),
    "slow_compute": job({"seconds": {"type": "number"}, "label": {"type": "string"}}, text="{label} done"),
    "protocol_error_job": content(*[{"progress": 1}] * 20, *[{"characters": 9_000_000}] * 2),
    "confirm_delete": job({"filename": {"type": "string"}}, approvals=1, text="{decisions}"),
    "multi_input": job({}, approvals=2, text="{decisions}"),
    "failing_job": job({}, seconds=1, fails="it always fails"),
    "test_error_handling": content({"fail": "This tool intentionally returns an error for testing"}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    """`lanemesh mcp` before a mesh with these pipelines."""
    async with mesh(**PIPELINES) as address, mcp_over_http(address, f"--with={ADDITIONS}") as found:
        yield found


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_all_requirements_of_a_revision_hold(url: str, revision: str, tmp_path: Path) -> None:
    code, printed = await judge(url, tmp_path, f"--requirements={revision}")
    assert code == 0, printed


TASKS = (
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-mrtr-input",
)
"""The scenarios of the extension for tasks, but for those of tools that refuse clients without it."""


async def test_long_pipelines_are_tasks(url: str, tmp_path: Path) -> None:
    for scenario in TASKS:
        code, printed = await judge(url, tmp_path, f"--scenario={scenario}", "--spec-version=2026-07-28", "--force")
        assert code == 0, printed
