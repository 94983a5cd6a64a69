"""The page of behaviours, and what the table makes of test results."""

import pytest

from conformance_table import PAGE, Behaviour, Standing, read_page, table
from containers.checks import BEHAVIOURS


def test_the_page_is_read_whole() -> None:
    behaviours = read_page(PAGE.read_text(encoding="utf-8"))

    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("- ")]
    assert len(behaviours) == len(lines)
    assert behaviours["LANE-01"].required
    assert behaviours["PIPE-06"].required


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="A-01 twice"):
        read_page("- A-01 **required** one\n- A-01 **planned** another\n")


@pytest.mark.parametrize(
    ("behaviour", "standing", "missed"),
    [
        (Behaviour(id="A-01", required=True, text="", passed=2), Standing.HOLDS, False),
        (Behaviour(id="A-01", required=True, text="", passed=2, failed=["t"]), Standing.FAILS, True),
        (Behaviour(id="A-01", required=True, text="", skipped=1), Standing.SKIPPED, True),
        (Behaviour(id="A-01", required=True, text=""), Standing.UNTESTED, True),
        (Behaviour(id="A-01", required=False, text=""), Standing.UNTESTED, False),
        (Behaviour(id="A-01", required=False, text="", failed=["t"]), Standing.FAILS, True),
    ],
)
def test_a_required_behaviour_needs_a_passing_test_and_no_failing_one(
    behaviour: Behaviour, standing: Standing, missed: bool
) -> None:
    assert behaviour.standing is standing
    assert behaviour.missed is missed


def test_the_table_names_failing_tests_and_counts_what_is_only_planned() -> None:
    behaviours = {
        "A-01": Behaviour(id="A-01", required=True, text="holds", passed=1),
        "A-02": Behaviour(id="A-02", required=True, text="breaks", failed=["tests/test_a.py::test_b"]),
        "A-03": Behaviour(id="A-03", required=False, text="later"),
    }

    lines = list(table(behaviours))

    assert any("tests/test_a.py::test_b" in line for line in lines)
    assert lines[-1] == "1 of 2 required behaviours hold; 1 planned ones have no test yet"


def test_the_table_names_what_make_containers_shows_in_part() -> None:
    behaviours = {"A-01": Behaviour(id="A-01", required=True, text="(C) runs on containers too", passed=1)}

    assert list(table(behaviours))[-2].endswith("not counted here: A-01")


def test_make_containers_shows_its_part_of_each_behaviour_that_is_marked() -> None:
    behaviours = read_page(PAGE.read_text(encoding="utf-8"))

    assert {one.id for one in behaviours.values() if one.on_containers} == set(BEHAVIOURS)
