"""How long a large pipeline takes to be validated: `python benchmarks/pipelines.py`.

200 components of the installed node types: prompts, agents with a model and a tool each, text nodes, one node that all lead to. One
row is a document that can run, one has a fault in each of its agents. Medians of five, the first of a process among them. Prints
each value beside its target and exits 1 if one is missed.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import all_services, service_names
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline import PipelineInvalid, validate

from chain.report import Verdict, console, status, verdicts_json, verdicts_table

COMPONENTS = 200
BOUND_MS = 100.0
ROUNDS = 5


def document(agent: Mapping[str, Any]) -> str:
    """A pipeline of 200 components, whose agents have this config."""
    parts: list[dict[str, Any]] = [{"id": "chat", "provider": "chat"}]
    branches = (COMPONENTS - 3) // 5
    for number in range(branches):
        model, tool = ({"control": [{"classType": kind, "from": f"agent_{number}"}]} for kind in ("llm", "tool"))
        parts += [
            _part(f"prompt_{number}", "prompt", {"template": "{question}"}, ("questions", "chat")),
            _part(f"agent_{number}", "agent_wave", agent, ("questions", f"prompt_{number}")),
            _part(f"model_{number}", "llm_scripted", {"script": ["yes"], "temperature": 0.5}) | model,
            _part(f"tools_{number}", "tool_python", {"module": "math"}) | tool,
            _part(f"upper_{number}", "upper_case", {}, ("text", f"agent_{number}")),
        ]
    ends = [("text", f"upper_{number}") for number in range(branches)]
    parts += [_part("join", "join_text", {}, *ends), _part("out", "response", {"lane": "text"}, ("text", "join"))]
    while len(parts) < COMPONENTS:
        parts.append(_part(f"more_{len(parts)}", "upper_case", {}, ("text", "chat")))
    return json.dumps({"components": parts})


def _part(name: str, provider: str, config: Mapping[str, Any], *inputs: tuple[str, str]) -> dict[str, Any]:
    return {
        "id": name,
        "provider": provider,
        "config": config,
        "input": [{"lane": lane, "from": producer} for lane, producer in inputs],
    }


def validated_ms(text: str, types: Mapping[str, node_pb2.Manifest], faults: int) -> float:
    """How long it takes to validate a document, which has so many faults."""
    started = time.perf_counter()
    try:
        validate(text, types)
        found = 0
    except PipelineInvalid as invalid:
        found = len(invalid.faults)
    elapsed = (time.perf_counter() - started) * 1e3
    if found != faults:
        raise RuntimeError(f"the document has {found} faults, not {faults}")
    return elapsed


def measure(rounds: int) -> list[Verdict]:
    """All values, each with its target."""
    types = {
        node.provider: manifest_of(node, service.name)
        for service in all_services(service_names())
        for node in service.nodes
    }
    agents = (COMPONENTS - 3) // 5
    rows: list[tuple[str, dict[str, Any], int]] = [
        ("200 components, valid", {}, 0),
        (f"200 components, {agents} faults", {"max_wave": 3}, agents),
    ]
    return [
        Verdict(
            what=what,
            value=median(validated_ms(document(agent), types, faults) for _ in range(rounds)),
            bound=BOUND_MS,
            at_least=False,
            unit="ms",
        )
        for what, agent, faults in rows
    ]


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the values as JSON instead of the table")
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works")
    arguments = parser.parse_args()
    verdicts = measure(1 if arguments.quick else ROUNDS)
    if arguments.json:
        print(verdicts_json(verdicts))
    else:
        console().print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
