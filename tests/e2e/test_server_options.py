"""Options that all commands of servers have, or that concern clients: limits and the audit log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from rigs.commands import Command, run
from rigs.runs import chat, pipeline, response


@pytest.mark.parametrize("command", [("serve",), ("node", "text"), ("gpu", "serve")])
def test_a_wrong_limit_is_an_error_of_usage(command: tuple[str, ...], tmp_path: Path) -> None:
    by_option = run(*command, "--port", "0", "--limit", "calls=many", folder=tmp_path)
    assert by_option.returncode == 2
    assert "the limit 'calls=many' is out of range: it has to be 1 to 1,000,000" in by_option.stderr
    environment = {**os.environ, "LANEMESH_LIMITS": "speed=3"}
    by_variable = run(*command, "--port", "0", folder=tmp_path, environment=environment)
    assert by_variable.returncode == 2
    assert "'speed=3' is not a limit: write NAME=VALUE" in by_variable.stderr


def test_an_orchestrator_writes_its_audit_log_and_has_its_limits(tmp_path: Path) -> None:
    options = ("--port", "0", "--store", "none", "--audit-log", "audit.log", "--limit", "message-bytes=2097152")
    process = Command("serve", *options, folder=tmp_path, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        found = None
        while found is None:
            found = re.search(r"listening, reached at (\S+)", process.stderr.readline())
        (tmp_path / "echo.pipe").write_text(json.dumps(pipeline(chat(), response("chat"))))
        done = run("run", "echo.pipe", "--input", "hello", "--mesh", found[1], folder=tmp_path)
        assert (done.stdout, done.returncode) == ("hello\n", 0), done.stderr
        with grpc.insecure_channel(found[1]) as channel:
            call: Any = channel.unary_unary("/lanemesh.v1.RunService/ValidatePipeline")
            with pytest.raises(grpc.RpcError, match=r"3000000 vs\. 2097152"):
                call(bytes(3_000_000), timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate(timeout=60)
    acts = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [(act["method"], act["outcome"], "run" in act) for act in acts][:1] == [("RunService.Run", "OK", True)]
    assert "hello" not in (tmp_path / "audit.log").read_text()


def test_an_audit_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    done = run("serve", "--port", "0", "--audit-log", "missing/audit.log", folder=tmp_path)
    assert done.returncode == 1
    assert "the audit log missing/audit.log cannot be written: No such file or directory" in done.stderr
