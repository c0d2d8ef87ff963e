"""A training loop for classifiers.

The data order is the same for every optimizer, and the learning curves are finer than an epoch.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.optim import Optimizer

from hybridq.errors import HybridqError, InvalidArgument
from hybridq.seeding import derive, generator
from hybridq.study.data import Split, TextData
from hybridq.study.runs import Run

__all__ = [
    "Crossing",
    "Epoch",
    "Evaluation",
    "MakeOptimizer",
    "TrainConfig",
    "TrainResult",
    "TrainingDiverged",
    "evaluate",
    "first_crossing",
    "seeded",
    "train",
]

M = TypeVar("M", bound=nn.Module)
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class TrainingDiverged(HybridqError, ArithmeticError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        epochs: The number of passes over the training part.
        batch_size: The sentences per step; the last batch of an epoch may be smaller.
        seed: The source of the data order and of the dropout. The same seed gives every optimizer
            the same order and the same dropout.
        clip_norm: The largest norm of the whole gradient; None leaves the gradient as it is.
        evaluations_per_epoch: The number of evaluations on the test part in an epoch, including
            that at its end.
        levels: Test accuracies between 0 and 1 for which the result says when they were first
            reached.
        eval_batch_size: Sentences per step of an evaluation.

    Raises:
        InvalidArgument: If a value lies outside its range.
    """

    epochs: int = 10
    batch_size: int = 32
    seed: int = 0
    clip_norm: float | None = None
    evaluations_per_epoch: int = 4
    levels: tuple[float, ...] = (0.9,)
    eval_batch_size: int = 256

    def __post_init__(self) -> None:
        derive(self.seed)  # refuses what is no seed
        for argument in ("epochs", "batch_size", "evaluations_per_epoch", "eval_batch_size"):
            value = getattr(self, argument)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidArgument.of(argument, value, "give a positive integer")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise InvalidArgument.of(
                "clip_norm", self.clip_norm, "give a positive number, or None not to clip"
            )
        if not all(0 < level <= 1 for level in self.levels):
            raise InvalidArgument.of("levels", self.levels, "give accuracies between 0 and 1")


@dataclass(frozen=True)
class Evaluation:
    """One look at the test part.

    Args:
        epoch: The passes over the training part until now, fractional.
        step: The optimizer steps until now.
        test_loss: The mean cross-entropy in nats.
        test_accuracy: The accuracy, between 0 and 1.
        seconds: The time of all training steps until now, without evaluations.
    """

    epoch: float
    step: int
    test_loss: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part.

    Args:
        epoch: The number of the epoch, from 1.
        train_loss: The mean cross-entropy in nats over its steps, with dropout, each before its
            update.
        train_accuracy: The accuracy of the same predictions.
        test_loss: The mean cross-entropy of the test part at the end of the epoch, in nats.
        test_accuracy: The accuracy on the test part at the end of the epoch.
        seconds: The time of its training steps.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Crossing:
    """The moment when a test accuracy was first reached.

    Args:
        level: The accuracy.
        epochs: The fractional epochs, interpolated between two evaluations; None if the accuracy
            was never reached.
        seconds: The training time, interpolated alike.
    """

    level: float
    epochs: float | None
    seconds: float | None


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run.

    Args:
        epochs: One entry per epoch.
        evaluations: One entry per evaluation, the first before any training.
        crossings: One entry per level of the configuration.
        step_seconds: The median time of one training step: forward, backward, clipping, update.
        seconds: The time of all training steps.
    """

    epochs: tuple[Epoch, ...]
    evaluations: tuple[Evaluation, ...]
    crossings: tuple[Crossing, ...]
    step_seconds: float
    seconds: float

    @property
    def test_accuracy(self) -> float:
        """The accuracy after the last step, which is the result to report.

        The best one on the way would be chosen on the test part.
        """
        return self.evaluations[-1].test_accuracy

    @property
    def test_loss(self) -> float:
        """The mean cross-entropy after the last step, in nats."""
        return self.evaluations[-1].test_loss

    def epochs_to(self, level: float) -> float | None:
        """Return the fractional epochs until the test accuracy first was `level`, or None."""
        return first_crossing(
            [e.epoch for e in self.evaluations], [e.test_accuracy for e in self.evaluations], level
        )


def train(
    model: nn.Module,
    data: TextData,
    make_optimizer: MakeOptimizer,
    config: TrainConfig | None = None,
    run: Run | None = None,
    label: str = "",
) -> TrainResult:
    """Train a classifier by cross-entropy and follow its test accuracy.

    The order of the data is a function of (seed, epoch) alone, and so is the state of torch's
    random numbers at the start of each epoch, from which dropout draws. After the training they are
    as they were before; evaluations do not touch them. In a terminal a progress bar is drawn on
    stderr.

    Args:
        model: The classifier. It is called as `model(ids)` with ids (B, length), where 0 is
            padding, and returns logits (B, n_classes). The batches go to the device of its first
            parameter. It is trained in place, and stays in the mode that it was in.
        data: The data to train on and to test on.
        make_optimizer: The function that makes the optimizer from the parameters that require a
            gradient, in the model's order.
        config: How to train.
        run: The record to write to: each evaluation and each epoch as a line of its metrics, and
            at the end the checkpoint and the result.
        label: The name of the progress bar.

    Returns:
        The learning curves.

    Raises:
        TrainingDiverged: If the loss of a step is not finite. The run keeps what was logged, and a
            result with the status "diverged", the epoch and the step.
    """
    loop = _Loop(model, data, make_optimizer, config or TrainConfig(), run)
    was_training = model.training
    devices = [loop.device] if loop.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), _progress() as progress:
            result = loop.all_epochs(
                progress, progress.add_task(label or data.name, total=loop.n_steps, state="")
            )
    finally:
        model.train(was_training)
    if run is not None:
        run.save_checkpoint(model)
        final = {
            "status": "finished",
            "test_accuracy": result.test_accuracy,
            "test_loss": result.test_loss,
        }
        times = {
            "steps": loop.n_steps,
            "seconds": result.seconds,
            "step_seconds": result.step_seconds,
        }
        run.finish(final | {"crossings": result.crossings} | times)
    return result


def evaluate(model: nn.Module, split: Split, batch_size: int = 256) -> tuple[float, float]:
    """Compute loss and accuracy, without a gradient and without dropout.

    Torch's random numbers stay as they were.

    Args:
        model: As in `train`; left in the mode it was in.
        split: What to evaluate on.
        batch_size: Sentences per call of the model.

    Returns:
        Mean cross-entropy in nats, and accuracy between 0 and 1.
    """
    device = _device(model)
    was_training = model.training
    loss = correct = 0.0
    model.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            for ids, labels in zip(
                torch.split(split.ids, batch_size),
                torch.split(split.labels, batch_size),
                strict=True,
            ):
                logits = model(ids.to(device))  # (B, n_classes)
                loss += float(F.cross_entropy(logits, labels.to(device), reduction="sum"))
                correct += float((logits.argmax(dim=1) == labels.to(device)).sum())
    finally:
        model.train(was_training)
    return loss / len(split), correct / len(split)


def first_crossing(
    positions: Sequence[float], values: Sequence[float], level: float
) -> float | None:
    """Find where a curve first reaches a level, linearly between its points.

    A curve that wavers crosses earlier the more often it is looked at, so compare only curves with
    the same positions.

    Args:
        positions: Increasing.
        values: One per position.
        level: What to reach.

    Returns:
        The position; None if no value is at or above the level.

    Example:
        >>> first_crossing([0, 1, 2], [0.5, 0.8, 1.0], 0.9), first_crossing([0, 1], [0.5, 0.8], 0.9)
        (1.5, None)
    """
    for index, value in enumerate(values):
        if value >= level:
            if index == 0:
                return float(positions[0])
            before, start = values[index - 1], positions[index - 1]
            return start + (positions[index] - start) * (level - before) / (value - before)
    return None


def seeded(seed: int, make_model: Callable[[], M]) -> M:
    """Make a model whose initial weights depend on `seed` alone.

    Torch's random numbers stay as they were.

    Args:
        seed: A non-negative integer.
        make_model: Makes the model on the CPU.

    Returns:
        The model.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(derive(seed, "model"))
        return make_model()


class _Loop:
    """The state of one call of `train`."""

    def __init__(
        self,
        model: nn.Module,
        data: TextData,
        make_optimizer: MakeOptimizer,
        config: TrainConfig,
        run: Run | None,
    ) -> None:
        self.model, self.data, self.config, self.run = model, data, config, run
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise InvalidArgument.of(
                "model", type(model).__name__, "has no parameter that requires a gradient"
            )
        self.optimizer = make_optimizer(self.parameters)
        self.device = _device(model)
        self.steps_per_epoch = math.ceil(len(data.train) / config.batch_size)
        self.n_steps = self.steps_per_epoch * config.epochs
        n_looks = min(config.evaluations_per_epoch, self.steps_per_epoch)
        self.looks = {round(self.steps_per_epoch * (i + 1) / n_looks) for i in range(n_looks)}
        self.times: list[float] = []
        self.seconds = 0.0
        self.evaluations: list[Evaluation] = []

    def all_epochs(self, progress: Progress, task: TaskID) -> TrainResult:
        self.look(0, 0)
        epochs = tuple(
            self.one_epoch(epoch, progress, task) for epoch in range(1, self.config.epochs + 1)
        )
        curve = [e.epoch for e in self.evaluations], [e.seconds for e in self.evaluations]
        accuracy = [e.test_accuracy for e in self.evaluations]
        crossings = tuple(
            Crossing(level, *(first_crossing(x, accuracy, level) for x in curve))
            for level in self.config.levels
        )
        return TrainResult(
            epochs, tuple(self.evaluations), crossings, median(self.times), self.seconds
        )

    def one_epoch(self, epoch: int, progress: Progress, task: TaskID) -> Epoch:
        n, started = len(self.data.train), self.seconds
        order = torch.randperm(n, generator=generator(self.config.seed, "order", epoch))
        torch.manual_seed(derive(self.config.seed, "dropout", epoch))
        self.model.train()
        loss = correct = 0.0
        for step, rows in enumerate(torch.split(order, self.config.batch_size), start=1):
            batch_loss, batch_correct = self.one_step(rows, epoch, step)
            loss += batch_loss * len(rows)
            correct += batch_correct
            if step in self.looks:
                self.look(epoch, step)
            progress.update(task, advance=1, state=self.state(epoch, batch_loss))
        last = self.evaluations[-1]
        done = Epoch(
            epoch, loss / n, correct / n, last.test_loss, last.test_accuracy, self.seconds - started
        )
        self.log("epoch", done)
        return done

    def one_step(self, rows: Tensor, epoch: int, step: int) -> tuple[float, float]:
        ids, labels = (
            self.data.train.ids[rows].to(self.device),
            self.data.train.labels[rows].to(self.device),
        )
        start = time.perf_counter()
        logits = self.model(ids)  # (B, n_classes)
        loss = F.cross_entropy(logits, labels)
        value = loss.item()
        if not math.isfinite(value):
            self.stop(epoch, step, value)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter() - start)
        self.seconds += self.times[-1]
        return value, float((logits.argmax(dim=1) == labels).sum())

    def look(self, epoch: int, step: int) -> None:
        """Evaluate after `step` steps of epoch `epoch`; (0, 0) is before the first."""
        loss, accuracy = evaluate(self.model, self.data.test, self.config.eval_batch_size)
        passed = max(epoch - 1, 0)
        position, steps = passed + step / self.steps_per_epoch, passed * self.steps_per_epoch + step
        self.evaluations.append(Evaluation(position, steps, loss, accuracy, self.seconds))
        self.log("evaluation", self.evaluations[-1])

    def log(self, kind: str, entry: Evaluation | Epoch) -> None:
        if self.run is not None:
            self.run.log(kind=kind, **vars(entry))

    def state(self, epoch: int, loss: float) -> str:
        accuracy = self.evaluations[-1].test_accuracy
        return f"epoch {epoch}/{self.config.epochs}  loss {loss:.3f}  test {accuracy:.1%}"

    def stop(self, epoch: int, step: int, loss: float) -> None:
        where: dict[str, Any] = {"epoch": epoch, "step": step, "loss": loss}
        record = ""
        if self.run is not None:
            self.run.log(kind="diverged", **where)
            self.run.finish({"status": "diverged", **where})
            record = f" The record of the run {self.run.name!r} is kept."
        raise TrainingDiverged(
            f"the loss is {loss} in epoch {epoch}, step {step} of {self.steps_per_epoch}. "
            f"Lower the learning rate, or set clip_norm.{record}"
        )


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
