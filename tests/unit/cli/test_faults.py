"""The faults of a pipeline, each in its place."""

import pytest
from lanemesh.pipeline_faults import PipelineFault, Severity
from lanemesh_orchestrator.cli.output.faults import count, render_faults

DOCUMENT = """{"components": [
  {"id": "chat_1", "provider": "chat"},
  {"id": "llm_1", "provider": "llm_lamacpp",
   "input": [{"lane": "questions", "from": "chat_1"}]}]}
"""


def unknown(pointer: str, severity: Severity = Severity.ERROR) -> PipelineFault:
    return PipelineFault(
        pointer=pointer,
        reason="unknown-provider",
        message='There is no node type "llm_lamacpp".',
        hint="Nearest: llm_llamacpp.",
        severity=severity,
    )


def test_a_fault_is_shown_with_its_line_and_carets_below_the_value() -> None:
    shown = render_faults("rag.pipe", DOCUMENT, [unknown("/components/1/provider")])

    assert shown == (
        "rag.pipe: 1 fault\n"
        "\n"
        "  /components/1/provider           unknown-provider\n"
        '    3 │   {"id": "llm_1", "provider": "llm_lamacpp",\n'
        "      │                                ^^^^^^^^^^^\n"
        '    There is no node type "llm_lamacpp". Nearest: llm_llamacpp.'
    )


def test_a_long_line_is_cut_around_the_place_and_the_carets_stay_below_it() -> None:
    document = f'{{"components": [{{"id": "{"x" * 300}", "provider": "wrong", "name": "{"y" * 300}"}}]}}'

    lines = render_faults("a.pipe", document, [unknown("/components/0/provider")], width=80).split("\n")

    excerpt, carets = lines[3], lines[4]
    assert max(map(len, lines[2:5])) <= 80
    start = carets.index("^")
    assert excerpt[start : start + carets.count("^")] == "wrong"
    assert excerpt.count("…") == 2


def test_carets_stay_below_the_place_after_wide_characters_and_tabs() -> None:
    document = '{"components": [\n\t{"id": "漢字", "provider": "wrong"}]}'

    lines = render_faults("a.pipe", document, [unknown("/components/0/provider")]).split("\n")

    # Each wide character takes two columns, so the caret stands two further right than the text's index.
    assert lines[4].index("^") == lines[3].index("wrong") + 2


@pytest.mark.parametrize(
    ("reason", "place"),
    [("no-source", "(the document)"), ("unknown-setting", "--set"), ("bad-setting", "--set")],
)
def test_a_fault_of_the_whole_document_or_of_a_setting_has_no_line(reason: str, place: str) -> None:
    fault = PipelineFault("", reason, "M.", "H.")

    shown = render_faults("a.pipe", DOCUMENT, [fault])

    assert "│" not in shown
    assert f"\n  {place} " in shown
    assert shown.endswith("    M. H.")


def test_a_syntax_error_is_shown_where_it_is() -> None:
    fault = PipelineFault("", "not-json", "No JSON.")

    lines = render_faults("a.pipe", '{"components": [}', [fault]).split("\n")

    assert lines[4].index("^") == lines[3].index("}")


def test_warnings_are_counted_apart_and_marked() -> None:
    faults = [unknown("/components/1/provider"), unknown("/components/0", Severity.WARNING)]

    assert count(faults) == "1 fault, 1 warning"
    assert count(faults[1:]) == "1 warning"
    assert "unknown-provider (warning)" in render_faults("a.pipe", DOCUMENT, faults)


def test_one_command_installs_all_extras_that_are_missing_here() -> None:
    def missing(extra: str, where: str = "Run: ") -> PipelineFault:
        pointer = "/components/0/provider"
        return PipelineFault(pointer, "missing-extra", "It is missing.", f"{where}pip install 'lanemesh[{extra}]'")

    shown = render_faults("a.pipe", DOCUMENT, [missing("flow"), missing("web-search"), missing("flow")])
    assert shown.endswith("\n\nAll missing packages at once: pip install 'lanemesh[flow,web-search]'")
    once = [missing("flow"), missing("flow"), missing("privacy", "Run on one of these node servers, and restart it: ")]
    assert "at once" not in render_faults("a.pipe", DOCUMENT, once)
