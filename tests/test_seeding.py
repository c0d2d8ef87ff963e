"""Seeds: the same everywhere, different for different names, and none from torch's own."""

import itertools
import subprocess
import sys
from typing import Any

import pytest
import torch

from hybridq.errors import InvalidArgument
from hybridq.seeding import derive, generator

PATHS: list[tuple[str | int, ...]] = [
    (),
    ("data",),
    ("model",),
    ("dropout", 0),
    ("dropout", 1),
    ("dropout", 10),
    ("data", "train"),
    ("data/train",),
    ("data%2Ftrain",),
    ("data", "", "train"),
]


def test_streams_of_different_names_are_different() -> None:
    seeds = [derive(seed, *path) for seed, path in itertools.product(range(20), PATHS)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_seeds_are_spread_evenly() -> None:
    n = 4000
    mean = sum(derive(i, "x") / 2**31 for i in range(n)) / n
    assert abs(mean - 0.5) < 5 / (12 * n) ** 0.5


def test_a_seed_is_the_same_in_another_process() -> None:
    code = "from hybridq.seeding import derive; print(derive(3, 'data', 2))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == derive(3, "data", 2)


def test_a_generator_draws_its_own_stream() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        torch.rand(5, generator=generator(*path)) for path in ((0, "a"), (0, "a"), (0, "b"))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert generator(0, "a").initial_seed() == derive(0, "a")


@pytest.mark.parametrize("seed", [-1, 1.0, True, "1", None])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"seed=.*non-negative integer"):
        derive(seed, "data")
