"""What expressions may do for an item: bounds of steps and bytes that hold for each function and operator."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import LanemeshError
from lanemesh_services.flow import work
from lanemesh_services.flow.expressions import Expression

NUMBERS = list(range(2_000))
LETTERS = "a" * 60
DOUBLED = "['a', 'a'], [r, r]"


def value(source: str, item: Any = "") -> Any:
    return Expression(source, "to", "map").value(item)


def failure(source: str, item: Any = "") -> str:
    with pytest.raises(LanemeshError) as error:
        value(source, item)
    assert error.value.fault.reason == "expression-failed"
    return str(error.value.fault.message)


def test_error_an_expression_ends_after_the_documented_steps() -> None:
    said = failure("size(text.split('a').map(x, text.split('a').map(y, 1)))", "a" * 500)
    assert "it takes more than 200,000 steps, which is too much for this expression" in said


@pytest.mark.parametrize(
    ("source", "item"),
    [
        ("item.exists(x, item.exists(y, x == -1 - y))", NUMBERS),
        ("item.all(x, item.all(y, x + y >= 0))", NUMBERS),
        ("item.exists_one(x, x < 0)", NUMBERS),
        ("item.filter(x, x < 0)", NUMBERS),
        ("item.map(x, x)", NUMBERS),
        ("item.reduce(r, x, 0, r + x)", NUMBERS),
        ("item.exists(x, timestamp('2020-01-01T00:00:00Z').getHours('UTC') == 1)", NUMBERS[:100]),
        ("item.map(x, " + "-" * 100 + "1)", NUMBERS[:20]),
        ("list(text).map(x, 1)", "a" * 2_000),
    ],
)
def test_error_macros_signs_and_times_take_steps(source: str, item: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_STEPS", 1_000)
    assert "it takes more than 1,000 steps" in failure(source, item)


@pytest.mark.parametrize(
    ("source", "item"),
    [
        ("size(item.map(x, text + text + text + text)) > 0", ["x" * 100] * 20),
        ("size(text.reduce(r, i, 'a', r + r))", LETTERS),
        ("size(text.reduce(r, i, b'a', r + r))", LETTERS),
        ("size(text.reduce(r, i, [1], r + r))", LETTERS),
        ("size(text.split('a').join(text))", "a" * 500),
        ("size(text.split('a').join(', '))", "a" * 40_000),
        ("size(text.split('a'))", "a" * 4_000),
        ("size(list(text))", "a" * 4_000),
        ("size(bytes(text))", "é" * 40_000),
        ("text.upperAscii()", "ΐ" * 10_000),
        ("size(text.replace('a', '" + "b" * 500 + "'))", "a" * 200),
        (f"text.reduce(r, i, {DOUBLED})", LETTERS),
        (f"string(text.reduce(r, i, {DOUBLED}))", LETTERS),
        (f"bool(text.reduce(r, i, {DOUBLED}))", LETTERS),
        (f"[text.reduce(r, i, {DOUBLED})].join()", LETTERS),
        (f"text.reduce(r, i, {DOUBLED}) == text.reduce(r, i, {DOUBLED})", LETTERS),
        (f"1 in [text.reduce(r, i, {DOUBLED})]", LETTERS),
        (f"[text.reduce(r, i, {DOUBLED})].contains(1)", LETTERS),
        (f"[1, text.reduce(r, i, {DOUBLED})].min()", LETTERS),
        ("item.exists(x, 1 == item)", ["x" * 100] * 500),
        ("item.all(x, x in item)", [str(number) for number in NUMBERS]),
        ("item.exists(x, text.contains('!'))", NUMBERS),
        ("item.exists(x, text.startsWith(text + 'a'))", NUMBERS),
        ("item.exists(x, text.matches('^b'))", NUMBERS),
        ("item.exists(x, {text: 1, text: 2} == {})", NUMBERS),
        ("text.matches('.{1000}.{1000}b')", "a" * 100),
        ("item.exists(x, text.matches('.{2000}'))", NUMBERS),
    ],
)
def test_error_what_is_made_read_and_compared_takes_bytes(
    source: str, item: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "MAX_BYTES", 100_000)
    assert "its values have more than 100,000 bytes, which is too much for this expression" in failure(source, item)


def test_error_texts_and_lists_are_not_multiplied_nor_formatted() -> None:
    for source in ("'%9d' % 1", "'a' * 9", "[1] * 9", "b'%9d' % 1", "1 * 'a'", "1 - text", "1 / [1]"):
        assert "found no matching overload" in failure(source)


def test_error_in_many_elements_stays_one_error() -> None:
    rows = [{"name": "it's"}] * 200
    assert "no such member in mapping: 'score" in failure("item.exists(x, x.score == 1)", rows)
    assert value("item.exists(x, x.score == 1)", [*rows, {"score": 1}]) is True
    assert value("item.all(x, x.score == 1)", [*rows, {"score": 2}]) is False
    assert "undeclared reference to 'absent" in failure("||".join(["absent"] * 200))
    assert "undeclared reference to 'absent" in failure("&&".join(["absent"] * 200))
    assert "a condition is IntType" in failure("item.exists(x, 1)", rows)


def test_error_durations_and_times_of_any_text() -> None:
    assert "is no duration, such as '1h30m'" in failure("duration(text)", "a" * 60 + "!")
    for source in ("duration(text)", "timestamp(text)", "timestamp('2020-01-01T00:00:00Z').getHours(text)"):
        assert "takes a text of up to 100 characters" in failure(source, "1s" * 60)
    assert value("duration('-1.5h20m') < duration('.5s')") is True


def test_error_a_pattern_that_is_too_long() -> None:
    assert "`matches` takes a pattern of up to 2,000 characters" in failure("text.matches(text)", "a" * 2_001)


def test_error_an_unknown_name_is_said_without_the_variables() -> None:
    said = failure("item.exists(x, absent == x)", ["x" * 100] * 100)
    assert "undeclared reference to 'absent" in said
    assert len(said) < 500


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('"' + "\\n" * 500, "has a text that does not end"),
        ("text == b'\\'" + "\\n" * 500, "has a text that does not end"),
        ('r"""' + "\\n" * 500 + '"', "has a text that does not end"),
        ("(" * 900 + "1" + ")" * 900, "is nested too deeply"),
        ("99999999999999999999 > 1", "has a value that is out of range"),
        ("item.map((x), 1)", "has a macro whose first argument is no name"),
        ("item.reduce(r, x + 1, 0, r)", "has a macro whose first argument is no name"),
    ],
)
def test_error_expressions_that_no_item_has_a_value_for(source: str, said: str) -> None:
    with pytest.raises(LanemeshError) as error:
        Expression(source, "to", "map")
    assert error.value.fault.reason == "bad-expression"
    assert said in error.value.fault.message


def test_error_a_map_with_a_value_that_fails() -> None:
    assert "divide by zero" in failure("{'a': 1/0}")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 + 2 * 3 % 4 - 1 == 2 && 1.5 * 2.0 == 3.0 && -1 < 0 && 7 / 2 == 3", True),
        ("timestamp('2020-01-01T00:00:00Z') + duration('1h') > timestamp('2020-01-01T00:00:00Z')", True),
        ("timestamp('2020-01-01T00:00:00Z').getHours('Europe/Paris')", 1),
        (
            "'a' in ['a'] && ['a'].contains('a') && 'ab'.contains('b') && 'a' in {'a': 1} && {'a': 1}.contains('a')",
            True,
        ),
        ("[1, 2].exists_one(x, x == 2) && [1].all(x, x == 1) ? 'y' : 'n'", "y"),
        ("[3, 1, 2].min() + [1, 2].reduce(r, x, 0, r + x)", 4),
        ("list('abc').map(c, c + 'x').join()", "axbxcx"),
        ("string(1) + string(true) + string(b'x') + string(int('2') + int(3.7))", "1Truex5"),
        ("b'ab' + b'c'", "abc"),
        (r"""'a\'b' + "\"" + '''it's''' + "" // it's""", "a'b\"it's"),
        ('''"""a"b""" + r"\\d"''', 'a"b\\d'),
        ("true || absent", True),
        ("absent && false", False),
    ],
)
def test_happy_functions_and_operators(source: str, expected: Any) -> None:
    assert value(source) == expected
