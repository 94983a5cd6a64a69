"""What hides secrets: in texts, faults and updates."""

import json
import logging
from typing import Any
from urllib.parse import quote

import pytest
from lanemesh import Context, In, Node, Out
from lanemesh import redaction as module
from lanemesh.faults import Code, Fault
from lanemesh.node.runtime.resources import Resources
from lanemesh.redaction import NO_SECRETS, Secrets, hidden_in_log, secret_values, secrets_of
from lanemesh.v1 import update_pb2
from pydantic import BaseModel, SecretStr

SECRET = 'k"1\\ä/2\n3'


def written(secret: str) -> dict[str, str]:
    """A secret in every form in which texts have it."""
    return {
        "plain": secret,
        "json": json.dumps(secret),
        "json of any script": json.dumps(secret, ensure_ascii=False),
        "json in json": json.dumps(json.dumps({"key": secret})),
        "repr": repr(secret),
        "url": f"https://host/?key={quote(secret, safe='')}",
    }


@pytest.mark.parametrize("form", written(SECRET))
def test_a_secret_is_hidden_however_it_is_written(form: str) -> None:
    hidden = Secrets([SECRET]).hidden(f"before {written(SECRET)[form]} after")
    assert "***" in hidden
    assert [part for part in ("1", "2", "3") if part in hidden] == []


def test_the_longer_of_two_secrets_is_hidden_first() -> None:
    assert Secrets(["abcd", "abcdefgh"]).hidden("abcdefgh abcd efgh") == "*** *** efgh"


def test_short_values_are_no_secrets() -> None:
    assert not Secrets(["", "abc"])
    assert Secrets(["abc"]).hidden("abc") == "abc"


def test_the_lines_of_a_long_secret_are_hidden_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgk\n}\n-----END KEY-----"
    assert (
        Secrets([key]).hidden(f"the line MIIEvQIBADANBgk is bad, }} not; all: {key}.")
        == "the line *** is bad, } not; all: ***."
    )


def test_faults_lose_secrets_and_keep_their_places() -> None:
    fault = Fault(
        code=Code.INTERNAL,
        reason="told",
        message="no chat_1234",
        details={"component": "chat_1234", "asked": "chat_1234"},
        traceback="raise chat_1234",
    )
    hidden = Secrets(["chat_1234"]).fault(fault)
    assert (hidden.message, hidden.traceback) == ("no ***", "raise ***")
    assert hidden.details == {"component": "chat_1234", "asked": "***"}
    assert NO_SECRETS.fault(fault) is fault


def test_updates_lose_secrets_and_keep_their_names() -> None:
    update = update_pb2.Update(node=update_pb2.NodeUpdate(component="secret", detail="a secret"))
    update.node.error.CopyFrom(Fault(code=Code.INTERNAL, reason="secret", message="secret").to_proto())
    Secrets(["secret"]).hide(update)
    assert (update.node.component, update.node.detail) == ("secret", "a ***")
    error = Fault.from_proto(update.node.error)
    assert (error.reason, error.message) == ("secret", "***")


def test_pointers_mean_values_all_that_is_below_them_and_parts_of_strings() -> None:
    config = json.dumps({"a": "one", "b": {"c": ["two", 3], "d/e": "Bearer four"}, "f": 12345, "g": True})
    assert secret_values(config, ["/a", "/b/c", "/f", "/g"]) == ["one", "two", "3", "12345"]
    assert secret_values(config, ["/b/d~1e", "/b/d~1e/7:11"]) == ["four"]
    assert secret_values(config, ["/b/d~1e"]) == ["Bearer four"]
    assert secret_values(config, ["/nothing", "/b/c/7", "/a/b"]) == []


def test_a_process_remembers_a_bounded_number_of_secrets_for_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_memory", {})
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    module._remembered.cache_clear()
    for secret in ("first", "second", "first", "third"):
        secrets_of([(json.dumps({"key": secret}), ["/key"])])
    assert hidden_in_log("first second third") == "*** second ***"
    module._remembered.cache_clear()


class Guarded(Node):
    class Config(BaseModel):
        key: SecretStr
        limit: int = 1

    text: In[str]
    said: Out[str]

    @classmethod
    async def load(cls, config: Any) -> str:
        return str(config.key.get_secret_value())

    def process(self, context: Context) -> dict[str, Any]:
        return {"said": self.text}


async def test_resources_of_configs_that_differ_in_a_secret_differ() -> None:
    resources = Resources()
    configs = [Guarded.Config.model_validate({"key": key}) for key in ("one", "two", "one")]
    assert [await resources.acquire(Guarded, config) for config in configs] == ["one", "two", "one"]
    for config in configs:
        resources.release(Guarded, config)
    await resources.close()


def test_a_config_that_does_not_fit_is_not_quoted() -> None:
    with pytest.raises(ValueError, match="limit") as caught:
        Guarded.Config.model_validate({"key": "kept", "limit": "a secret in the wrong place"})
    assert "secret in" not in str(caught.value)


async def test_a_log_line_is_formatted_and_reported_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    async def report(update: update_pb2.Update) -> None: ...

    context = Context(
        run_id="run-1",
        component="a",
        provider="p",
        report=report,
        on_log=lambda level, line: told.append(line),
        secrets=Secrets(["hidden one"]),
    )
    with caplog.at_level(logging.INFO):
        context.log.warning("a %s, %d", "hidden one", 5)
    assert told == [record.getMessage() for record in caplog.records] == ["a ***, 5"]
    assert caplog.records[0].funcName == "test_a_log_line_is_formatted_and_reported_without_secrets"
