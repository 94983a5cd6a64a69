"""JSON objects that no lane can carry."""

import pytest
from lanemesh_services.text.json_scanner import JsonScanner


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1e999}', "inf is not a JSON number"),
        ('{"a": "\\ud83d"}', "not valid Unicode"),
        ('{"\\udc00": 1}', "Unicode"),
    ],
)
def test_an_object_that_no_lane_can_carry_is_left_out_with_a_reason(text: str, why: str) -> None:
    scanner = JsonScanner(1_000)

    assert scanner.push(text + '{"b": 2}') == [{"b": 2}]
    assert len(scanner.left_out) == 1
    assert why in scanner.left_out[0]
