"""The published schedules: what they make of a number of labels, and that fits follow them."""

import pytest
import torch

from tiny import molecules, problem
from tunesmith.errors import ConfigError
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.by_size import BySize
from tunesmith.tune.committee import Committee


@pytest.mark.parametrize(
    ("n", "batch", "rate", "epochs"),
    [
        (1, 1, 1e-3, 1000),
        (3, 1, 1e-3, 334),
        (20, 1, 1e-3, 50),
        (21, 2, 5e-3, 96),
        (100, 2, 5e-3, 20),
        (101, 4, 5e-3, 40),
        (399, 4, 5e-3, 11),
        (400, 4, 5e-3, 10),
        (100_000, 4, 5e-3, 10),
    ],
)
def test_small_sets(n: int, batch: int, rate: float, epochs: int) -> None:
    """Equations 16 and 17 by hand."""
    found = BySize().of(n)
    assert type(found) is AdamW
    assert (found.batch_size, found.learning_rate, found.epochs) == (batch, rate, epochs)
    assert found.patience == epochs, "all epochs are done"


def test_large_sets_and_committees() -> None:
    large = BySize(sets="large", members=3).of(200)
    assert isinstance(large, Committee)
    assert (large.epochs, large.batch_size, large.learning_rate) == (50, 16, 1e-2)
    assert (large.members, large.vary) == (3, "shuffles")
    assert BySize(members=2, vary="bootstraps", clip=None).of(5).clip is None
    assert [BySize(max_rate=2e-3).of(n).learning_rate for n in (5, 50)] == [1e-3, 2e-3]


def test_a_fit_follows_it() -> None:
    task = problem(molecules(1))
    ours = BySize(sets="large").fit(task)
    same = AdamW(learning_rate=1e-2, epochs=50, patience=50, batch_size=16).fit(task)
    assert len(ours.histories[0]) == 50
    for name, weight in same.moved.items():
        assert torch.equal(ours.moved[name], weight)


def test_what_has_no_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match="give members too"):
        BySize(vary="shuffles")
