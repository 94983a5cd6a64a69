"""What `make demo-all` does: the examples of the catalogue by the commands of examples/README.md, embedded and spread."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from demo import (
    CATALOGUE,
    EXAMPLES,
    WITH_ENVIRONMENT,
    State,
    Where,
    clone,
    commands,
    example_blocks,
    located,
    main,
    no_environment,
    run,
)
from demo_servers import variables
from pages import Block
from postgres import NoPostgres

CACHE = os.environ.get("XDG_CACHE_HOME")
"""Where the Python environments of services are, before the tests have a cache of their own."""


@pytest.fixture(scope="module", params=list(Where))
def where(request: pytest.FixtureRequest) -> Where:
    return Where(request.param)


@pytest.fixture(scope="module")
def folder(where: Where, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples, as in a clone."""
    folder = tmp_path_factory.mktemp("demo") / where
    clone(folder)
    return folder


@pytest.fixture(scope="module")
def given() -> Iterator[Mapping[str, str]]:
    """The variables of local servers in the place of remote services."""
    with variables(with_database=True) as (given, no_database):
        assert not no_database
        yield given


@pytest.fixture
def environments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example with a service in a Python environment finds the one that `make environments` has made."""
    if name not in WITH_ENVIRONMENT:
        return
    if CACHE is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", CACHE)


@pytest.mark.model
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("environments")
@pytest.mark.parametrize("name", CATALOGUE)
def test_the_commands_of_the_page_run_and_print_what_it_shows(
    name: str, where: Where, folder: Path, given: Mapping[str, str]
) -> None:
    assert no_environment(name) == ""
    for block in example_blocks()[name]:
        for command in commands(block):
            result = run(block, located(command, where), folder, given)
            assert result.state is not State.FAILED, f"{block.where}: {command}\n{result.reason}"


def test_a_command_fails_that_prints_something_else(tmp_path: Path) -> None:
    block = Block("page:1", "sh", "echo hello\n", Block("page:2", "text", "goodbye\n"))
    result = run(block, "echo hello", tmp_path)
    assert (result.state, result.printed) == (State.FAILED, "hello\n")
    assert "page:2 shows" in result.reason


def test_a_command_fails_that_ends_with_an_error_or_writes_no_file(tmp_path: Path) -> None:
    block = Block("page:1", "sh", "")
    ended = run(block, "echo away >&2; exit 3", tmp_path)
    wrote_nothing = run(block, "true --output page_1=card.html", tmp_path)
    assert (ended.state, ended.reason) == (State.FAILED, "It ended with 3:\naway")
    assert (wrote_nothing.state, wrote_nothing.reason) == (State.FAILED, "It wrote nothing into card.html.")


def test_a_command_whose_program_is_missing_is_left_out(tmp_path: Path) -> None:
    result = run(Block("page:1", "sh needs no-such-voice", ""), "exit 1", tmp_path)
    assert result.state is State.LEFT_OUT
    assert "`apt-get install no-such-voice`" in result.reason


def test_the_table_ends_the_output_and_a_failure_is_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = {"moderated_chat": [Block("page:1", "sh", "true\n")], "postcard": [Block("page:2", "sh", "true\nfalse\n")]}
    monkeypatch.setattr("demo.example_blocks", lambda: blocks)

    assert main(["moderated_chat"], tmp_path) == 0
    capsys.readouterr()
    assert main(["moderated_chat", "postcard"], tmp_path) == 1

    printed = capsys.readouterr().out
    assert "$ false\nfailed" in printed
    assert [line.split()[:2] for line in printed.splitlines()[-5:-2]] == [
        ["example", "embedded"],
        ["postcard", "failed"],
        ["moderated_chat", "passed"],
    ]


def test_an_example_without_its_database_is_left_out_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_programs() -> Path:
        raise NoPostgres("it is not installed")

    monkeypatch.setattr("demo_servers.with_pgvector", no_programs)
    monkeypatch.setattr("demo.example_blocks", lambda: {"ask_hosted": [Block("page:1", "sh", "false\n")]})

    assert main(["ask_hosted"], tmp_path) == 0

    printed = capsys.readouterr().out
    assert "left out It needs PostgreSQL with pgvector: it is not installed." in printed


def test_an_example_without_the_environment_of_its_service_is_left_out_and_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("demo.example_blocks", lambda: {"crew": [Block("page:1", "sh", "false\n")]})

    assert main(["crew"], tmp_path) == 0

    assert "lanemesh env create crewai" in capsys.readouterr().out


def test_an_example_of_remote_services_gets_the_variables_and_the_option_for_a_server_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "echo $NEWS_HOOK lanemesh run examples/news_watch.pipe\n"
    monkeypatch.setattr("demo.example_blocks", lambda: {"news_watch": [Block("page:1", "sh", command)]})

    assert main(["news_watch"], tmp_path) == 0

    printed = capsys.readouterr().out
    wanted = r"    http://127\.0\.0\.1:\d+/hook lanemesh run (--spread )?--set read_1.private=true --set post_1.private=true "
    assert len(re.findall(wanted, printed)) == len(Where)


def test_an_example_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["postcards"]) == 2
    assert "There is no example postcards" in capsys.readouterr().err


def test_each_example_of_the_catalogue_has_commands_on_the_page() -> None:
    assert set(CATALOGUE) <= set(example_blocks())
    assert all((EXAMPLES / f"{name}.pipe").is_file() for name in CATALOGUE)
