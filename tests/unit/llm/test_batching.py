"""How the tokens of one step are chosen, each by its own request's settings."""

from typing import Any

import pytest

from conformance.llm.turns import without

pytestmark = without("torch", "transformers")


def chosen(logits: list[float], *, temperature: float, top_p: float = 1.0, top_k: int = 0, chance: float = 0.5) -> int:
    import torch
    from lanemesh_services.llm.batching import choose

    picked = choose(
        torch.tensor([logits]),
        torch.tensor([temperature]),
        torch.tensor([top_p]),
        torch.tensor([top_k], dtype=torch.int32),
        torch.tensor([chance]),
        narrow=top_k,
    )
    assert torch.isfinite(picked).sum() == 1
    return int(picked.argmax())


# Probabilities 0.2, 0.1, 0.4, 0.3 at temperature 1.
LOGITS = [-1.6094, -2.3026, -0.9163, -1.2040]


@pytest.mark.parametrize(
    ("settings", "token"),
    [
        ({"temperature": 0, "chance": 0.99}, 2),
        ({"temperature": 1, "chance": 0.0}, 2),
        ({"temperature": 1, "chance": 0.39}, 2),
        ({"temperature": 1, "chance": 0.41}, 3),
        ({"temperature": 1, "chance": 0.71}, 0),
        ({"temperature": 1, "chance": 0.91}, 1),
        ({"temperature": 1, "chance": 0.9999999}, 1),
        ({"temperature": 1, "top_k": 1, "chance": 0.99}, 2),
        ({"temperature": 1, "top_k": 2, "chance": 0.56}, 2),
        ({"temperature": 1, "top_k": 2, "chance": 0.58}, 3),
        ({"temperature": 1, "top_p": 0.01, "chance": 0.99}, 2),
        ({"temperature": 1, "top_p": 0.6, "chance": 0.99}, 3),
        ({"temperature": 1, "top_p": 0.8, "chance": 0.99}, 0),
        ({"temperature": 0.05, "chance": 0.9}, 2),
    ],
)
def test_happy(settings: dict[str, Any], token: int) -> None:
    assert chosen(LOGITS, **settings) == token


def test_rows_of_one_step_do_not_meddle() -> None:
    import torch
    from lanemesh_services.llm.batching import choose

    rows = torch.tensor([LOGITS, LOGITS[::-1], LOGITS])
    picked = choose(
        rows,
        torch.tensor([0.0, 1.0, 1.0]),
        torch.tensor([1.0, 1.0, 0.6]),
        torch.tensor([0, 2, 0], dtype=torch.int32),
        torch.tensor([0.9, 0.58, 0.99]),
    )

    assert picked.argmax(dim=-1).tolist() == [2, 0, 3]


def test_the_share_of_each_token_is_its_probability() -> None:
    shares = [0] * 4
    for step in range(100):
        shares[chosen(LOGITS, temperature=1, chance=(step + 0.5) / 100)] += 1

    assert shares == [20, 10, 40, 30]
