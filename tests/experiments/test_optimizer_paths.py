"""The surface, what a search records of itself, and the figures in their smallest size."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.optimizer_paths.__main__ import main
from experiments.optimizer_paths.figures import FIGURES
from experiments.optimizer_paths.methods import EPOCH, METHODS
from experiments.optimizer_paths.searches import OPTIMUM, REACH, rastrigin, start_of
from hybridq.errors import InvalidArgument


def _loss(point: object) -> float:
    return float(rastrigin(torch.as_tensor(point, dtype=torch.float64)))


def test_the_surface_is_rastrigins_function_around_the_optimum() -> None:
    points = (
        torch.rand(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 8 - 4
    )
    for (x, y), loss in zip(points.tolist(), rastrigin(points).tolist(), strict=True):
        u, v = x - OPTIMUM[0], y - OPTIMUM[1]
        by_hand = 20 + u**2 + v**2 - 10 * (math.cos(2 * math.pi * u) + math.cos(2 * math.pi * v))
        assert loss == pytest.approx(by_hand, rel=1e-12)
    assert _loss(OPTIMUM) == 0
    assert 0 not in OPTIMUM


def test_starts_differ_and_lie_in_the_region_of_random_search() -> None:
    starts = torch.stack([start_of(seed) for seed in range(50)])
    assert len(torch.unique(starts, dim=0)) == 50
    assert 0.9 * REACH < starts.abs().max() <= REACH
    assert torch.equal(start_of(3), start_of(3))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_evaluates_as_often_as_it_may_and_repeats_itself(name: str) -> None:
    first, again, other = (METHODS[name].search(seed, 100) for seed in (0, 0, 1))
    assert len(first.losses) == len(other.losses) == 100
    assert (first.losses, first.path) == (again.losses, again.path)
    assert first.losses != other.losses
    if name != "random-search":
        assert first.path[0] == start_of(0).tolist()


def test_losses_belong_to_the_path() -> None:
    trace = METHODS["adam"].search(0, 60)
    assert trace.losses == pytest.approx([_loss(point) for point in trace.path[:-1]])
    assert np.array_equal(trace.best, [min(trace.losses[: i + 1]) for i in range(60)])


def test_the_sine_does_not_lead_to_another_minimum_and_the_printed_formula_climbs() -> None:
    names = ("adam", "spgd-0.5", "spgd-printed-0.5", "spgd-printed-0.5-clipped")
    adam, bent, printed, clipped = (METHODS[name].search(2, 300) for name in names)
    assert bent.path[-1] == pytest.approx(adam.path[-1], abs=1e-3)
    assert max(np.linalg.norm(np.subtract(bent.path, adam.path), axis=1)) > 0.05
    assert printed.losses[-1] > adam.losses[-1] + 5
    assert clipped.losses[-1] < adam.losses[-1] + 1


def test_a_jump_is_recorded_where_it_happened() -> None:
    trace = METHODS["tunneling-adam"].search(0, 3 * EPOCH)
    # The end of each epoch adds a point to the path: where the jump landed.
    assert trace.jumps == [EPOCH, 2 * EPOCH + 1]
    assert trace.returns == []
    steps = np.linalg.norm(np.diff(trace.path, axis=0), axis=1)
    assert steps[trace.jumps].min() > 10 * np.delete(steps, trace.jumps).max()


def test_a_jump_that_did_not_pay_is_taken_back() -> None:
    for seed in range(10):
        trace = METHODS["tunneling-adam-reverting"].search(seed, 4 * EPOCH)
        if trace.returns:
            break
    (jump,), (back,) = trace.jumps, trace.returns
    assert back > jump
    assert trace.path[back + 1] == trace.path[jump]
    assert _loss(trace.path[back]) >= _loss(trace.path[jump])


def test_the_controls_of_tunneling_do_what_their_names_say() -> None:
    adam, reset = (METHODS[name].search(0, 120) for name in ("adam", "tunneling-reset-only"))
    assert reset.path[: EPOCH + 1] == adam.path[: EPOCH + 1]
    assert reset.path[EPOCH + 1] == reset.path[EPOCH]
    assert not np.allclose(reset.path[-1], reset.path[0])


def test_candidates_and_those_that_tunnelled_are_recorded() -> None:
    trace, without = (METHODS[name].search(0, 150) for name in ("qiaso", "qiaso-no-tunnelling"))
    assert [cloud.shape for cloud in trace.clouds] == [(30, 2)] * 5
    assert trace.losses == pytest.approx(
        [_loss(point) for cloud in trace.clouds for point in cloud]
    )
    assert not trace.tunnelled[0].any()
    assert any(jumped.any() for jumped in trace.tunnelled)
    assert not any(jumped.any() for jumped in without.tunnelled)
    # Before anything has tunnelled, both searches have the same candidates; afterwards those that
    # stayed still are the same.
    moved = (trace.clouds[1] != without.clouds[1]).any(1)
    assert np.array_equal(moved, trace.tunnelled[1])


def test_the_smallest_run_writes_figures_and_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "paths"
    main(output=folder, smoke=True)
    for name in FIGURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["methods"]) == set(METHODS)
    assert summary["problem"]["starts"] == [start_of(seed).tolist() for seed in range(2)]
    assert summary["environment"]["versions"]["torch"] == torch.__version__
    for name in ("adam", "random-search"):
        lowest = [min(METHODS[name].search(seed, 100).losses) for seed in range(2)]
        assert summary["methods"][name]["lowest_loss"] == lowest
    assert str(folder) in capsys.readouterr().out
    with pytest.raises(InvalidArgument, match="output"):
        main(output=folder, smoke=True)
