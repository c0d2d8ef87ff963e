import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hybridq.errors import HybridqError, InvalidArgument
from hybridq.seeding import generator
from hybridq.study.data import KeywordSpec, TextData, keyword_task
from hybridq.study.runs import Run, load_checkpoint
from hybridq.study.training import (
    TrainConfig,
    TrainingDiverged,
    evaluate,
    first_crossing,
    seeded,
    train,
)

SGD = partial(torch.optim.SGD, lr=0.5)
ADAM = partial(torch.optim.Adam, lr=0.01)
SPEC = KeywordSpec(60, 16, 12, 4, 10, n_train=50, n_test=30)


class Bag(nn.Module):
    """The mean of the words.

    It notes what it is shown while training, and draws random numbers even in evaluations.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 16, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(16, 4)
        self.seen: list[list[int]] = []

    def forward(self, ids: Tensor) -> Tensor:
        torch.rand(1)
        if self.training:
            self.seen += ids.tolist()
        kept = (ids != 0)[..., None]
        return self.classify(self.dropout((self.words(ids) * kept).sum(1) / kept.sum(1)))


class NeverCorrect(Bag):
    """Its loss is NaN from the third training step on."""

    def forward(self, ids: Tensor) -> Tensor:
        logits = super().forward(ids)
        return logits * math.nan if self.training and len(self.seen) > 2 * 16 else logits


@pytest.fixture(scope="module")
def data() -> TextData:
    return keyword_task(0, SPEC)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def trained(data: TextData, make_optimizer: Callable = SGD, dropout: float = 0.0, **config) -> Bag:
    model = seeded(0, lambda: Bag(dropout))
    train(model, data, make_optimizer, TrainConfig(**({"epochs": 2, "batch_size": 16} | config)))
    return model


def test_it_is_the_plain_loop(data: TextData) -> None:
    model = seeded(0, Bag)
    optimizer = SGD(model.parameters())
    for epoch in (1, 2):
        for rows in torch.split(torch.randperm(50, generator=generator(7, "order", epoch)), 16):
            optimizer.zero_grad()
            F.cross_entropy(model(data.train.ids[rows]), data.train.labels[rows]).backward()
            optimizer.step()
    assert torch.equal(weights(trained(data, seed=7)), weights(model))


def test_every_optimizer_sees_the_same_order(data: TextData) -> None:
    sgd, adam, other = trained(data, SGD), trained(data, ADAM), trained(data, SGD, seed=1)
    assert sgd.seen == adam.seen
    assert sgd.seen != other.seen
    assert sgd.seen[:50] != sgd.seen[50:]
    for epoch in (sgd.seen[:50], sgd.seen[50:]):
        assert sorted(epoch) == sorted(data.train.ids.tolist())


def test_dropout_comes_from_the_seed_and_not_from_the_evaluations(data: TextData) -> None:
    rarely = trained(data, dropout=0.5, evaluations_per_epoch=1)
    with torch.random.fork_rng([]):
        torch.manual_seed(123)  # whatever came before
        often = trained(data, dropout=0.5, evaluations_per_epoch=4)
    assert torch.equal(weights(rarely), weights(often))
    assert not torch.equal(weights(rarely), weights(trained(data, dropout=0.5, seed=1)))


def test_the_global_random_numbers_and_the_mode_are_given_back(data: TextData) -> None:
    before = torch.random.get_rng_state()
    model = seeded(0, Bag).eval()
    train(model, data, SGD, TrainConfig(epochs=1))
    assert len(model.seen) == 50  # it was trained in training mode
    with pytest.raises(TrainingDiverged):
        train(seeded(0, NeverCorrect), data, SGD, TrainConfig(batch_size=16))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not model.training


def test_learning_curves(data: TextData) -> None:
    result = train(
        seeded(0, Bag), data, ADAM, TrainConfig(epochs=3, batch_size=16, evaluations_per_epoch=2)
    )
    assert [e.step for e in result.evaluations] == [0, 2, 4, 6, 8, 10, 12]
    assert [e.epoch for e in result.evaluations] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert [e.test_accuracy for e in result.epochs] == [
        e.test_accuracy for e in result.evaluations[2::2]
    ]
    assert [e.test_loss for e in result.epochs] == [e.test_loss for e in result.evaluations[2::2]]
    times = [e.seconds for e in result.evaluations]
    assert times == sorted(times)
    assert times[0] == 0
    assert result.seconds == times[-1]
    assert sum(e.seconds for e in result.epochs) == pytest.approx(result.seconds)
    assert result.test_accuracy == result.evaluations[-1].test_accuracy


def test_more_evaluations_than_steps(data: TextData) -> None:
    result = train(
        seeded(0, Bag), data, SGD, TrainConfig(epochs=1, batch_size=25, evaluations_per_epoch=10)
    )
    assert [e.epoch for e in result.evaluations] == [0, 0.5, 1]


def test_training_loss_is_the_mean_over_sentences_though_the_last_batch_is_smaller(
    data: TextData,
) -> None:
    model = seeded(0, Bag)
    expected = evaluate(model, data.train)
    result = train(
        model, data, partial(torch.optim.SGD, lr=0.0), TrainConfig(epochs=1, batch_size=16)
    )
    # A mean of 50 float32 losses, added up in another order.
    assert result.epochs[0].train_loss == pytest.approx(
        expected[0], rel=50 * torch.finfo(torch.float32).eps
    )
    assert result.epochs[0].train_accuracy == expected[1]


@pytest.mark.parametrize("batch_size", [1, 7, 30, 100])
def test_evaluation_does_not_depend_on_its_batches(data: TextData, batch_size: int) -> None:
    model = seeded(0, lambda: Bag(dropout=0.5))
    logits = model.eval()(data.test.ids).detach()
    loss, accuracy = evaluate(model.train(), data.test, batch_size)
    assert loss == pytest.approx(
        float(F.cross_entropy(logits, data.test.labels)), rel=30 * torch.finfo(torch.float32).eps
    )
    assert accuracy == float((logits.argmax(1) == data.test.labels).double().mean())
    assert model.training


def test_clipping(data: TextData) -> None:
    def moved(clip_norm: float | None) -> float:
        model = seeded(0, Bag)
        start = weights(model)
        train(
            model,
            data,
            partial(torch.optim.SGD, lr=1.0),
            TrainConfig(epochs=1, batch_size=50, clip_norm=clip_norm),
        )
        return float((weights(model) - start).norm())

    assert moved(None) > 0.01
    assert moved(0.01) == pytest.approx(0.01, rel=1e-4)  # torch adds 1e-6 to the norm it divides by


def test_frozen_parameters_are_not_handed_to_the_optimizer(data: TextData) -> None:
    model = seeded(0, Bag)
    model.words.weight.requires_grad_(False)
    got: list[nn.Parameter] = []

    def make_optimizer(parameters) -> torch.optim.Optimizer:
        got.extend(parameters)
        return SGD(got)

    train(model, data, make_optimizer, TrainConfig(epochs=1))
    assert [p.shape for p in got] == [(4, 16), (4,)]
    with pytest.raises(InvalidArgument, match="no parameter that requires a gradient"):
        train(model.requires_grad_(False), data, SGD)


def test_levels(data: TextData) -> None:
    result = train(
        seeded(0, Bag), data, ADAM, TrainConfig(epochs=8, batch_size=16, levels=(0.5, 1.0))
    )
    low, high = result.crossings
    assert (low.level, high.level, high.epochs, high.seconds) == (0.5, 1.0, None, None)
    assert low.epochs is not None
    assert result.epochs_to(0.5) == low.epochs
    after = next(i for i, e in enumerate(result.evaluations) if e.test_accuracy >= 0.5)
    before, at = result.evaluations[after - 1], result.evaluations[after]
    assert before.epoch < low.epochs <= at.epoch
    part = (low.epochs - before.epoch) / (at.epoch - before.epoch)
    assert low.seconds == pytest.approx(before.seconds + part * (at.seconds - before.seconds))


RISES = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12)


@given(RISES, RISES, st.floats(0.0, 1.0))
def test_the_crossing_of_a_rising_curve_lies_on_the_curve(
    steps: list[float], rises: list[float], part: float
) -> None:
    n = min(len(steps), len(rises))
    x, y = np.cumsum([0.0, *steps[:n]]), np.cumsum([0.0, *rises[:n]])
    level = part * y[-1]
    found = first_crossing(x.tolist(), y.tolist(), level)
    assert found is not None
    assert np.interp(found, x, y) == pytest.approx(level, abs=1e-9 * y[-1])


def test_the_first_of_several_crossings_and_the_very_first_point() -> None:
    assert first_crossing([0, 1, 2, 3], [0.0, 1.0, 0.0, 1.0], 0.5) == 0.5
    assert first_crossing([2.0, 3.0], [0.9, 0.95], 0.9) == 2.0
    assert first_crossing([], [], 0.9) is None


def test_a_nan_names_epoch_and_step_and_keeps_the_record(data: TextData, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "bad", {})
    with pytest.raises(
        TrainingDiverged, match=r"loss is nan in epoch 1, step 3 of 4.*'bad' is kept"
    ) as error:
        train(seeded(0, NeverCorrect), data, SGD, TrainConfig(batch_size=16), run)
    assert isinstance(error.value, HybridqError)
    assert run.result == {"status": "diverged", "epoch": 1, "step": 3, "loss": "nan"}
    assert [line["kind"] for line in run.metrics()] == [
        "evaluation",
        "evaluation",
        "evaluation",
        "diverged",
    ]
    assert not run.checkpoint.exists()


def test_the_record(data: TextData, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "good", {})
    model = seeded(0, Bag)
    config = TrainConfig(epochs=2, batch_size=16, evaluations_per_epoch=2, levels=(0.9,))
    result = train(model, data, SGD, config, run)
    lines = run.metrics()
    assert [line["kind"] for line in lines] == [
        "evaluation",
        *["evaluation", "evaluation", "epoch"] * 2,
    ]
    assert {k: v for k, v in lines[-1].items() if k != "kind"} == vars(result.epochs[-1])
    assert run.result is not None
    assert run.result["status"] == "finished"
    assert run.result["test_accuracy"] == result.test_accuracy
    assert run.result["steps"] == 8
    assert run.result["crossings"][0]["level"] == 0.9
    again = Bag()
    load_checkpoint(again, run.checkpoint)
    assert torch.equal(weights(again), weights(model))


def test_the_record_is_written_as_it_goes(data: TextData, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "stopped", {})

    class Stopped(Bag):
        def forward(self, ids: Tensor) -> Tensor:
            if self.training and len(self.seen) == 50:
                raise KeyboardInterrupt
            return super().forward(ids)

    with pytest.raises(KeyboardInterrupt):
        train(seeded(0, Stopped), data, SGD, TrainConfig(epochs=2, evaluations_per_epoch=1), run)
    assert [line["kind"] for line in run.metrics()] == ["evaluation", "evaluation", "epoch"]
    assert run.result is None


def test_nothing_is_printed_where_there_is_no_terminal(
    data: TextData, capfd: pytest.CaptureFixture[str]
) -> None:
    train(seeded(0, Bag), data, SGD, TrainConfig(epochs=1))
    assert capfd.readouterr() == ("", "")


def test_seeded() -> None:
    before = torch.random.get_rng_state()
    a, b, c = (weights(seeded(seed, Bag)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("batch_size", 2.5),
        ("evaluations_per_epoch", 0),
        ("eval_batch_size", True),
        ("seed", -1),
        ("clip_norm", 0.0),
        ("clip_norm", math.nan),
        ("levels", (0.9, 90)),
    ],
)
def test_bad_configuration(argument: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=f"{argument}="):
        TrainConfig(**{argument: value})


def test_the_configuration_is_json() -> None:
    assert json.loads(json.dumps(vars(TrainConfig())))["levels"] == [0.9]
