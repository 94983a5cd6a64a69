"""What a trivial `lanemesh run` imports: it shall start quickly, and what it imports is nearly all that it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pages import ROOT

PIPELINE = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {
            "id": "response_1",
            "provider": "response",
            "config": {"lane": "text"},
            "input": [{"lane": "text", "from": "chat_1"}],
        },
    ]
}
PROGRAM = """
import json, sys
from lanemesh_orchestrator.cli import app
try:
    app(["run", sys.argv[1], "--input", "hello"])
finally:
    print(json.dumps(sorted(sys.modules)))
"""
MOST_OF_OURS = 217
"""Modules of Lanemesh: 217 when this was written. Each costs about a millisecond."""
NOT_NEEDED = (
    "grpc",
    "jsonschema_rs",
    "lanemesh._grpc.log_once",
    "lanemesh.control",
    "lanemesh.gpu",
    "lanemesh.lanes.inbox.group_stages",
    "lanemesh.node.firing.join_taking",
    "lanemesh.server.isolation.parent",
    "lanemesh.testing",
    "lanemesh_orchestrator.update_json",
    "lanemesh_orchestrator.pipeline.drawing",
    "lanemesh_orchestrator.scheduling.spread",
    "lanemesh_services.agent",
    "lanemesh_services.llm",
    "lanemesh_services.text",
    "lanemesh_services.tools",
    "rich",
)


def test_a_trivial_run_imports_what_it_uses_and_little_else(tmp_path: Path) -> None:
    pipe = tmp_path / "trivial.pipe"
    pipe.write_text(json.dumps(PIPELINE), encoding="utf-8")

    done = subprocess.run([sys.executable, "-c", PROGRAM, pipe], capture_output=True, text=True, timeout=60)

    printed, listed = done.stdout.splitlines()
    modules = json.loads(listed)
    ours = [name for name in modules if name.startswith("lanemesh")]
    assert (done.returncode, printed, done.stderr) == (0, "hello", "")
    assert [name for name in modules if name.startswith(NOT_NEEDED)] == []
    assert len(ours) <= MOST_OF_OURS, f"{len(ours)} modules: import late what a trivial run does not use"


def test_a_right_plain_config_does_not_load_the_schema_package() -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from unit.pipeline.documents import build, component\n"
        "build(component('c', 'chat'),"
        " component('l', 'llm_llamacpp', 'questions c', config={'profile': 'smollm2', 'key': None}),"
        " component('r', 'response', 'answers l', config={'lane': 'answers'}))\n"
        "assert 'jsonschema_rs' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
