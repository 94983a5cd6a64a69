"""The command `lanemesh` as a user and a shell have it: a process with its output, its exit code and its signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rigs import commands
from rigs.commands import TIMEOUT, Command

NODES = '''
import asyncio
import os

from lanemesh import Answer, Context, Image, In, Inputs, Node, Out, Outputs, Question


class Shout(Node):
    """Upper-cases text as it streams by."""

    text: In[str]
    shouted: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs):
        async for piece in inputs.stream("text"):
            await outputs.emit("shouted", piece.upper())


class Grumble(Node):
    """Fails on some words, and takes its process with it on another."""

    text: In[str]
    said: Out[str]

    def process(self, context: Context):
        context.log.info("judging %s", self.text)
        if "bad" in self.text:
            raise ValueError(f"I do not like {self.text}")
        if self.text == "exit":
            os._exit(3)
        return {"said": self.text}


class Tick(Node):
    """Ticks until it is told to stop."""

    text: In[str]
    tick: Out[str]

    async def gen_process(self, context: Context):
        for number in range(1_000_000):
            yield "tick", f"tick {number}"
            await asyncio.sleep(0.01)


class Recall(Node):
    """Says what was said before."""

    questions: In[Question]
    answers: Out[Answer]

    def process(self, context: Context):
        return {"answers": Answer(" / ".join(turn.content for turn in self.questions.history) or "nothing")}


class Teller(Node):
    """Says which session its run belongs to."""

    questions: In[Question]
    answers: Out[Answer]

    def process(self, context: Context):
        return {"answers": Answer(context.session or "none")}


class Picture(Node):
    """Paints."""

    text: In[str]
    image: Out[Image]

    def process(self, context: Context):
        return {"image": Image("image/png", self.text.encode())}
'''


def pipeline(provider: str, lane: str = "text", **config: Any) -> dict[str, Any]:
    """A chat, one node of this type, and a response."""
    node = {
        "id": f"{provider}_1",
        "provider": provider,
        "config": config,
        "input": [{"lane": "text", "from": "chat_1"}],
    }
    response = {"id": "out_1", "provider": "response", "config": {"lane": lane}}
    feed = [{"lane": lane, "from": f"{provider}_1"}]
    return {"components": [{"id": "chat_1", "provider": "chat"}, node, {**response, "input": feed}]}


CHAT = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "llm_1", "provider": "llm_scripted", "input": [{"lane": "questions", "from": "chat_1"}]},
        {
            "id": "response_1",
            "provider": "response",
            "config": {"lane": "answers"},
            "input": [{"lane": "answers", "from": "llm_1"}],
        },
    ]
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with node types and pipelines."""
    (tmp_path / "more.py").write_text(NODES)
    for name in ("shout", "grumble", "tick"):
        (tmp_path / f"{name}.pipe").write_text(json.dumps(pipeline(name), indent=1))
    (tmp_path / "picture.pipe").write_text(json.dumps(pipeline("picture", "image")))
    (tmp_path / "chat.pipe").write_text(json.dumps(CHAT))
    return tmp_path


def lanemesh(folder: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; without `stdin` there is nothing to read."""
    return commands.run(*arguments, folder=folder, text=stdin)


@contextmanager
def started(folder: Path, *arguments: str, stdin: int = subprocess.DEVNULL) -> Iterator[Command]:
    """A command that is running; it is killed if it has not ended by then."""
    with Command(*arguments, folder=folder, stdin=stdin) as process:
        try:
            yield process
        finally:
            process.kill()


def read(process: Command) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_run_prints_its_output_and_nothing_else(folder: Path) -> None:
    done = lanemesh(folder, "run", "shout.pipe", "--nodes", "more.py", "--input", "hello mesh")

    assert (done.stdout, done.stderr, done.returncode) == ("HELLO MESH\n", "", 0)


def test_a_spread_run_says_where_it_runs_beside_its_output(folder: Path) -> None:
    done = lanemesh(folder, "run", "shout.pipe", "--nodes", "more.py", "--input", "hello", "--spread")

    assert (done.stdout, done.returncode) == ("HELLO\n", 0)
    assert "mesh   orchestrator 127.0.0.1:" in done.stderr
    assert "more pid " in done.stderr
    assert "chat_1 ─text→ shout_1 ─text→ out_1" in done.stderr
    assert "completed in " in done.stderr


def test_standard_input_is_one_input_or_one_a_line(folder: Path) -> None:
    run = ("run", "shout.pipe", "--nodes", "more.py")

    assert lanemesh(folder, *run, stdin="a\nb\n").stdout == "A\nB\n"
    assert lanemesh(folder, *run, "--lines", stdin="a\n\nb").stdout == "A\n\nB\n"


def test_each_line_is_answered_before_the_next_one_is_there(folder: Path) -> None:
    run = ("run", "shout.pipe", "--nodes", "more.py", "--lines")
    with started(folder, *run, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for line in ("first", "second"):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert read(process) == f"{line.upper()}\n"
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


def test_no_input_at_all_ends_well_and_says_what_was_skipped(folder: Path) -> None:
    done = lanemesh(folder, "run", "chat.pipe")

    assert (done.stdout, done.returncode) == ("", 0)
    assert "llm_1 was skipped" in done.stderr


def test_a_setting_changes_a_config(folder: Path) -> None:
    done = lanemesh(folder, "run", "chat.pipe", "--input", "hi", "--set", 'llm_1.script=["No."]')

    assert (done.stdout, done.returncode) == ("No.\n", 0)


def test_json_is_one_update_per_line_numbered_without_gaps(folder: Path) -> None:
    done = lanemesh(folder, "run", "shout.pipe", "--nodes", "more.py", "--input", "hi", "--json")

    updates = [json.loads(line) for line in done.stdout.splitlines()]
    assert [update["sequence"] for update in updates] == list(range(1, len(updates) + 1))
    assert [update["state"] for update in updates if update["update"] == "job"] == ["starting", "running", "completed"]
    outputs = [(update["component"], update["value"]) for update in updates if update["update"] == "output"]
    assert outputs == [("out_1", "HI")]
    assert updates[-1]["state"] == "completed"


def test_media_is_written_to_its_file(folder: Path) -> None:
    run = ("run", "picture.pipe", "--nodes", "more.py", "--input", "paint")

    without = lanemesh(folder, *run)
    assert (without.stdout, without.stderr) == ("", "<image/png, 5 bytes: use --output out_1=FILE>\n")
    assert lanemesh(folder, *run, "--output", "out_1=a.png").returncode == 0
    assert (folder / "a.png").read_bytes() == b"paint"
    assert lanemesh(folder, *run, "--output", "out_1=-").stdout == "paint"


def test_a_failed_run_names_its_cause_in_the_users_own_frames(folder: Path) -> None:
    done = lanemesh(folder, "run", "grumble.pipe", "--nodes", "more.py", "--lines", stdin="good\nbad\n")

    assert (done.stdout, done.returncode) == ("good\n", 1)
    assert "error: grumble_1 (grumble) failed: ValueError: I do not like bad" in done.stderr
    assert 'raise ValueError(f"I do not like {self.text}")' in done.stderr
    assert "lanemesh/node" not in done.stderr
    assert "Delivered before that: 1 item by out_1." in done.stderr


def test_logs_of_nodes_have_their_component_before_them(folder: Path) -> None:
    run = ("run", "grumble.pipe", "--nodes", "more.py", "--input", "a thing")

    assert "grumble_1: judging a thing\n" in lanemesh(folder, *run, "--log-level", "info").stderr
    assert lanemesh(folder, *run).stderr == ""


def test_a_run_that_takes_too_long_fails(folder: Path) -> None:
    done = lanemesh(folder, "run", "tick.pipe", "--nodes", "more.py", "--input", "x", "--timeout", "0.3")

    assert done.returncode == 1
    assert "0.3 s" in done.stderr


def test_an_invalid_pipeline_never_starts_and_every_fault_is_shown_in_its_place(folder: Path) -> None:
    wrong = pipeline("shuot")
    wrong["components"][2]["input"] = [{"lane": "text", "from": "nobody"}]
    (folder / "wrong.pipe").write_text(json.dumps(wrong, indent=1))

    done = lanemesh(folder, "run", "wrong.pipe", "--nodes", "more.py", "--input", "x")
    assert (done.stdout, done.returncode) == ("", 2)
    assert "wrong.pipe: 2 faults\n" in done.stderr
    assert '│    "provider": "shuot",\n' in done.stderr
    assert "^^^^^\n" in done.stderr
    assert "Nearest: shout." in done.stderr
    assert "Traceback" not in done.stderr

    checked = lanemesh(folder, "validate", "wrong.pipe", "--nodes", "more.py")
    assert (checked.stdout, checked.returncode) == (done.stderr, 2)
    told = json.loads(lanemesh(folder, "validate", "wrong.pipe", "--nodes", "more.py", "--json").stdout)
    assert told["valid"] is False
    reasons = [(fault["reason"], fault["line"]) for fault in told["faults"]]
    assert [reason for reason, _ in reasons] == ["unknown-provider", "dangling-reference"]


def test_a_valid_pipeline_is_drawn(folder: Path) -> None:
    done = lanemesh(folder, "validate", "shout.pipe", "--nodes", "more.py")

    assert (done.stdout, done.returncode) == ("shout.pipe: valid\nchat_1 ─text→ shout_1 ─text→ out_1\n", 0)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "nothing.pipe"), 2, "There is no file nothing.pipe."),
        (("run", "chat.pipe", "--input", "a", "--file", "b"), 2, "cannot both be given"),
        (("run", "chat.pipe", "--file", "nothing.txt"), 2, "does not exist"),
        (("run", "chat.pipe", "--input", "a", "--nodes", "nothing.py"), 2, "nothing.py"),
        (("run", "chat.pipe", "--input", "a", "--nodes", "."), 2, "folder. Give a Python file in it, such as more.py."),
        (("node", "--orchestrator", "127.0.0.1:1", "--nodes", "."), 2, "it is a folder"),
        (
            ("serve", "--run-memory", "0"),
            2,
            "'--run-memory' (env var: 'LANEMESH_SERVE_RUN_MEMORY'): Input should be greater than or equal to 1",
        ),
        (("serve", "--nodes", "more.py"), 2, "lanemesh node --nodes more.py --orchestrator 127.0.0.1:7070"),
        (("run", "chat.pipe", "--input", "a", "--set", "nonsense"), 2, "component.key=value"),
        (("run", "chat.pipe", "--input", "a", "--set", "llm_2.seed=1"), 2, "llm_1"),
        (("run", "chat.pipe", "--input", "a", "--output", "response_2=x"), 2, "Nearest: response_1."),
        (("run", "chat.pipe", "--input", "a", "--mesh", "127.0.0.1:1"), 1, "lanemesh serve"),
        (("run", "chat.pipe", "--spread=nonsense"), 2, "nonsense"),
        (("run",), 2, "PIPE"),
        (("nonsense",), 2, "nonsense"),
        (("nodes", "llm_scriptd"), 2, "Nearest: llm_scripted."),
        (("node", "--orchestrator", "127.0.0.1:1"), 2, "name services"),
        (("gpu", "status", "--arbiter", "127.0.0.1:1"), 1, "127.0.0.1:1"),
        (("models", "get", "nonsense"), 2, "smollm2"),
    ],
)
def test_a_mistake_is_one_paragraph_that_says_what_to_do(
    folder: Path, arguments: Sequence[str], code: int, said: str
) -> None:
    done = lanemesh(folder, *arguments)

    assert (done.stdout, done.returncode) == ("", code)
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("spread", [(), ("--spread",)], ids=["embedded", "spread"])
def test_a_nodes_file_imports_what_is_beside_it(folder: Path, tmp_path: Path, spread: Sequence[str]) -> None:
    (folder / "voice.py").write_text("def louder(text):\n    return text.upper()\n")
    (folder / "more.py").write_text("import voice\n" + NODES.replace("piece.upper()", "voice.louder(piece)"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    done = lanemesh(elsewhere, "run", "../shout.pipe", "--nodes", "../more.py", "--input", "hello", *spread)

    assert (done.stdout, done.returncode) == ("HELLO\n", 0)


@pytest.mark.parametrize("spread", [(), ("--spread",)], ids=["embedded", "spread"])
def test_a_path_in_a_pipeline_counts_from_its_file(tmp_path: Path, spread: Sequence[str]) -> None:
    example = Path(__file__).parents[2] / "examples" / "agent.pipe"

    done = lanemesh(tmp_path, "run", str(example), "--input", "Which is warmer?", *spread)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Lisbon is the warmer one")
    assert "weather answers: " in done.stderr


def test_a_path_that_leads_nowhere_says_what_it_counts_from(folder: Path) -> None:
    agent = json.loads((Path(__file__).parents[2] / "examples" / "agent.pipe").read_text(encoding="utf-8"))
    (folder / "agent.pipe").write_text(json.dumps(agent))

    done = lanemesh(folder.parent, "run", f"{folder.name}/agent.pipe", "--input", "x")

    assert done.returncode == 1
    assert f"there is no file {folder / 'agent_tools.py'}" in done.stderr
    assert "a relative path counts from the folder of the pipeline's file" in done.stderr


def test_a_nodes_file_that_fails_shows_the_users_line(folder: Path) -> None:
    (folder / "bad.py").write_text("import math\n\nhalf = 1 / 0\n")

    done = lanemesh(folder, "run", "shout.pipe", "--nodes", "bad.py", "--input", "x")

    assert (done.stdout, done.returncode) == ("", 2)
    assert "bad.py cannot be loaded: ZeroDivisionError: division by zero (" in done.stderr
    assert 'bad.py", line 3, in <module>\n    half = 1 / 0\n' in done.stderr
    assert "lanemesh/server" not in done.stderr


def test_debug_shows_the_traceback(folder: Path) -> None:
    done = lanemesh(folder, "run", "nothing.pipe", "--debug")

    assert done.returncode == 2
    assert "Traceback (most recent call last):" in done.stderr


@pytest.mark.parametrize("spread", [(), ("--spread",)], ids=["embedded", "spread"])
def test_ctrl_c_cancels_the_run_and_ends_with_130(folder: Path, spread: Sequence[str]) -> None:
    with started(folder, "run", "tick.pipe", "--nodes", "more.py", "--input", "x", *spread) as process:
        assert read(process) == "tick 0\n"
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 130
    assert "cancelled after " in errors
    assert "Traceback" not in errors
    assert not rest or rest.endswith("\n")


def test_a_node_server_that_is_killed_is_named_with_what_it_ran_and_its_signal(folder: Path) -> None:
    run = ("run", "tick.pipe", "--nodes", "more.py", "--input", "x", "--spread")
    with started(folder, *run) as process:
        assert process.stderr is not None
        found = None
        while found is None:
            found = re.search(r"more pid (\d+)", process.stderr.readline())
        assert read(process) == "tick 0\n"
        os.kill(int(found[1]), signal.SIGKILL)
        _, errors = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 1
    told = f'error: The run failed: the node server "more" is gone: its process {found[1]} was killed by SIGKILL'
    assert told in errors
    assert "; it ran tick_1\n" in errors


def test_a_node_server_that_ends_by_itself_is_named_with_its_exit_code(folder: Path) -> None:
    done = lanemesh(folder, "run", "grumble.pipe", "--nodes", "more.py", "--input", "exit", "--spread")

    assert done.returncode == 1
    assert 'the node server "more" is gone: its process ' in done.stderr
    assert " ended with exit code 3; it ran grumble_1\n" in done.stderr


def test_a_second_ctrl_c_ends_the_process_also_where_nobody_reads_its_output(folder: Path) -> None:
    with started(folder, "run", "tick.pipe", "--nodes", "more.py", "--input", "x" * 60_000, "--json") as process:
        assert '"starting"' in read(process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130


@pytest.mark.parametrize("json_lines", [(), ("--json",)], ids=["text", "json"])
def test_a_reader_that_has_had_enough_ends_the_run_quietly(folder: Path, json_lines: Sequence[str]) -> None:
    with started(folder, "run", "tick.pipe", "--nodes", "more.py", "--input", "x", *json_lines) as process:
        assert process.stdout is not None
        assert read(process) != ""
        process.stdout.close()
        assert process.wait(TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_chat_answers_each_line_and_remembers_the_earlier_ones(folder: Path) -> None:
    recall = json.dumps(CHAT).replace("llm_scripted", "recall")
    (folder / "recall.pipe").write_text(recall)
    with started(folder, "chat", "recall.pipe", "--nodes", "more.py", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for line, answer in (("one", "nothing"), ("two", "one / nothing"), ("", "")):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert not answer or read(process) == f"{answer}\n"
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


def test_a_chat_has_commands_for_help_a_new_start_and_saving(folder: Path) -> None:
    (folder / "recall.pipe").write_text(json.dumps(CHAT).replace("llm_scripted", "recall"))
    lines = ["/help", "one", "/save one.txt", "/reset", "two", " /reset", "/save two.txt", ""]

    done = lanemesh(folder, "chat", "recall.pipe", "--nodes", "more.py", stdin="\n".join(lines))

    assert done.returncode == 0, done.stderr
    assert done.stdout == "nothing\nnothing\ntwo / nothing\n"
    for told in ("/help", "/save FILE", "A new conversation starts.", "Saved to one.txt."):
        assert told in done.stderr
    assert (folder / "one.txt").read_text() == "> one\n\nnothing\n"
    assert (folder / "two.txt").read_text() == "> two\n\nnothing\n\n>  /reset\n\ntwo / nothing\n"


def test_runs_and_chats_belong_to_sessions(folder: Path) -> None:
    (folder / "teller.pipe").write_text(json.dumps(CHAT).replace("llm_scripted", "teller"))
    lines = ["a", "b", "/reset", "c", ""]

    chat = lanemesh(folder, "chat", "teller.pipe", "--nodes", "more.py", stdin="\n".join(lines))
    given = lanemesh(folder, "chat", "teller.pipe", "--nodes", "more.py", "--session", "s-1", stdin="a\n")
    run = lanemesh(folder, "run", "teller.pipe", "--nodes", "more.py", "--session", "s-2", "--input", "x")
    plain = lanemesh(folder, "run", "teller.pipe", "--nodes", "more.py", "--input", "x")
    wrong = lanemesh(folder, "run", "teller.pipe", "--nodes", "more.py", "--session", "s" * 129, "--input", "x")

    first, second, third = chat.stdout.split()
    assert first == second != third
    assert len(first) > 32
    assert [done.stdout.strip() for done in (given, run, plain)] == ["s-1", "s-2", "none"]
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "1 to 128 characters, not 129" in wrong.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/save", "needs the name of a file"),
        ("/save chat.pipe", "the file exists already"),
        ("/save none/one.txt", "cannot be written"),
    ],
)
def test_a_conversation_that_cannot_be_saved_is_an_error(folder: Path, line: str, told: str) -> None:
    done = lanemesh(folder, "chat", "chat.pipe", stdin=f"{line}\n")

    assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_the_debug_log_has_the_steps_of_a_run_and_nothing_of_libraries(folder: Path) -> None:
    done = lanemesh(
        folder, "run", "grumble.pipe", "--nodes", "more.py", "--input", "bad", "--log-level", "debug", "--spread"
    )

    steps = [line for line in done.stderr.splitlines() if line.startswith("lanemesh.runs debug: run-")]
    assert [
        word
        for word in ("places", "connected", "first item on", "which ends the run", "failed")
        if not any(word in step for step in steps)
    ] == []
    assert [
        name for name in ("asyncio", "grpc", "alembic") if re.search(rf"(^|\| ){name}\S* ?\w*: ", done.stderr, re.M)
    ] == []


def test_node_types_are_listed_with_their_aliases_and_described_in_full(folder: Path) -> None:
    listed = lanemesh(folder, "nodes", "--nodes", "more.py")
    assert listed.returncode == 0
    assert any(line.startswith("shout ") for line in listed.stdout.splitlines())
    assert "aliases: response_text," in listed.stdout

    manifests = json.loads(lanemesh(folder, "nodes", "--json").stdout)
    providers = [manifest["provider"] for manifest in manifests]
    assert providers == sorted(providers)
    assert {"chat", "response", "llm_scripted"} <= set(providers)

    one = lanemesh(folder, "nodes", "llm_scripted")
    assert "temperature" in one.stdout
    assert "questions" in one.stdout


def test_the_models_that_have_a_name_are_listed(folder: Path) -> None:
    models = json.loads(lanemesh(folder, "models", "list", "--json").stdout)
    listed = lanemesh(folder, "models", "list")

    assert models[0]["name"] == "smollm2"
    assert listed.stdout.startswith(f"smollm2  {models[0]['summary']}\n")
    assert models[0]["path"] in listed.stdout


def test_an_answer_that_reaches_its_limit_is_said_to_be_cut_off(folder: Path) -> None:
    pipe = folder / "echo.pipe"
    llm = {"id": "llm_1", "provider": "llm_scripted", "config": {"max_tokens": 2}}
    components = [
        {"id": "chat_1", "provider": "chat"},
        {**llm, "input": [{"lane": "questions", "from": "chat_1"}]},
        {"id": "out_1", "provider": "response", "input": [{"lane": "answers", "from": "llm_1"}]},
    ]
    pipe.write_text(json.dumps({"components": components}))

    done = lanemesh(folder, "run", str(pipe), "--input", "one two three")

    assert done.stdout.strip() == "one two"
    assert "out_1: the answer is truncated (length)" in done.stderr


def test_a_mesh_of_servers_runs_pipelines_for_others(folder: Path) -> None:
    with started(folder, "serve", "--port", "0") as orchestrator:
        assert orchestrator.stderr is not None
        address = orchestrator.stderr.readline().split()[-1]
        too_early = lanemesh(folder, "run", "shout.pipe", "--input", "hello", "--mesh", address)
        assert too_early.returncode == 2
        assert f"`lanemesh nodes --mesh {address}`" in too_early.stderr
        assert f"`lanemesh node SERVICE --orchestrator {address}`" in too_early.stderr
        with started(folder, "node", "--nodes", "more.py", "--orchestrator", address) as node:
            assert node.stderr is not None
            while "joined" not in (line := node.stderr.readline()):
                assert line, "the node server ended before it joined"
            assert "more joined from 127.0.0.1:" in orchestrator.stderr.readline()
            done = lanemesh(folder, "run", "shout.pipe", "--input", "hello", "--mesh", address)
            assert (done.stdout, done.returncode) == ("HELLO\n", 0)
            assert f"mesh   orchestrator {address} · more pid {node.pid}" in done.stderr
            refused = lanemesh(folder, "serve", "--port", address.rpartition(":")[2])
            assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
            assert "port" in refused.stderr
            node.send_signal(signal.SIGTERM)
            assert node.wait(TIMEOUT) == 0
            assert "drains" in orchestrator.stderr.readline()
            assert "left" in orchestrator.stderr.readline()
        orchestrator.send_signal(signal.SIGINT)
        assert orchestrator.wait(TIMEOUT) == 0
