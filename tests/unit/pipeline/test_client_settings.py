"""Settings of clients' requests: read as JSON or text, and refused beyond the limits."""

import json

import pytest
from lanemesh_orchestrator.pipeline import PipelineInvalid
from lanemesh_orchestrator.pipeline.client_settings import (
    MAX_SETTING_KEYS,
    MAX_SETTING_NAME,
    MAX_SETTINGS,
    MAX_SETTINGS_CHARACTERS,
    read_settings,
)


def test_values_are_json_or_text() -> None:
    given = {"a.x": "1", "a.y": '{"k": [null]}', "a.z": "plain", "a.n": "NaN", "a.i": "1e999", "a.d": "9" * 5000}
    assert read_settings(given) == {"a.x": 1, "a.y": {"k": [None]}, **{f"a.{key}": given[f"a.{key}"] for key in "znid"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({f"a.{number}": "1" for number in range(MAX_SETTINGS + 1)}, "MAX_SETTINGS"),
        ({"a.x": " " * (MAX_SETTINGS_CHARACTERS + 1)}, "MAX_SETTINGS_CHARACTERS"),
        ({"a." + "x" * MAX_SETTING_NAME: "1"}, "MAX_SETTING_NAME"),
        ({"a" + ".x" * (MAX_SETTING_KEYS + 1): "1"}, "MAX_SETTING_KEYS"),
        ({"a.x": "[" * 100 + "]" * 100}, "MAX_DEPTH"),
        ({"a.x": "[" * 1_000_000}, "MAX_DEPTH"),
        ({"a.x": json.dumps("\ud800")}, 'The setting "a.x": This text is not valid Unicode'),
        ({"a.x": json.dumps({"k": ["\ud800"]})}, 'The setting "a.x" at /k/0: This text is not valid Unicode'),
        ({"a.x": json.dumps({"\ud800": 1})}, 'The setting "a.x": The key "\\ud800" is not valid Unicode'),
    ],
)
def test_what_is_beyond_a_limit_is_refused_by_its_name(given: dict[str, str], expected: str) -> None:
    with pytest.raises(PipelineInvalid) as caught:
        read_settings(given)
    (fault,) = caught.value.faults
    assert expected in fault.to_proto().message
