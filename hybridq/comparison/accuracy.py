"""What the deviations do to a trained model: its logits and its accuracy, paired with the reference's."""

from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from hybridq.comparison.deviations import Z95, pooled
from hybridq.comparison.distances import Alone, redraw
from hybridq.comparison.measuring import Array, Measurement
from hybridq.comparison.models import TrainedModel
from hybridq.errors import InvalidArgument
from hybridq.seeding import derive

__all__ = ["Paired", "judge", "logits_of", "shot_noise_alone", "wilson"]


@dataclass(frozen=True)
class Paired:
    """A model on a backend beside the same model on the reference.

    Args:
        correct: Examples that are classified rightly.
        examples: Examples in all.
        interval: The 95 % interval of the accuracy by Wilson's score.
        lost: Examples that only the reference has right.
        gained: Examples that only the backend has right.
        changed: Examples whose class changes.
        difference: Accuracy minus the reference's.
        difference_interval: Its 95 % interval (Agresti and Min 2005, for matched pairs).
        p: McNemar's exact p-value.
        rms: The root mean square error of the logits.
        rms_interval: Its 95 % interval over the examples, by the bootstrap.
        largest: The largest error of a logit.
        rms_alone: The error of the logits that shot noise alone gives; None if both are exact.
        accuracy_alone: The accuracy that shot noise alone gives; None if both are exact.
    """

    correct: int
    examples: int
    interval: tuple[float, float]
    lost: int
    gained: int
    changed: int
    difference: float
    difference_interval: tuple[float, float]
    p: float
    rms: float
    rms_interval: tuple[float, float]
    largest: float
    rms_alone: Alone | None
    accuracy_alone: Alone | None

    @property
    def accuracy(self) -> float:
        """Between 0 and 1."""
        return self.correct / self.examples


def logits_of(trained: TrainedModel, measurement: Measurement, matrix: Array) -> Tensor:
    """The model's logits on what was measured; no circuit is run.

    Raises:
        InvalidArgument: If they are not finite, which no measurement can be blamed for.
    """
    logits = trained.logits(torch.from_numpy(measurement.outputs(matrix)))
    if not bool(logits.isfinite().all()):
        raise InvalidArgument.of(
            "model", type(trained.model).__name__, "its logits are not finite; train another"
        )
    return logits


def judge(
    labels: Tensor,
    ours: Tensor,
    theirs: Tensor,
    alone: tuple[Alone, Alone] | None,
    plan: tuple[int, int],
) -> Paired:
    """Compare logits on the same examples.

    Args:
        labels: The classes, shape (examples,).
        ours: The backend's logits, shape (examples, classes).
        theirs: The reference's.
        alone: Error of the logits and accuracy from shot noise alone.
        plan: How many resamples of the examples, and the seed.
    """
    right, before = (logits.argmax(1) == labels.cpu() for logits in (ours, theirs))
    lost, gained = int((before & ~right).sum()), int((right & ~before).sum())
    n, correct = len(labels), int(right.sum())
    squares = (ours - theirs).square().mean(1).numpy()  # (examples,)
    return Paired(
        correct=correct,
        examples=n,
        interval=wilson(correct, n),
        lost=lost,
        gained=gained,
        changed=int((ours.argmax(1) != theirs.argmax(1)).sum()),
        difference=(gained - lost) / n,
        difference_interval=_matched(gained, lost, n),
        p=float(scipy.stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
        rms=float(np.sqrt(squares.mean())),
        rms_interval=_bootstrap_rms(squares, *plan),
        largest=float((ours - theirs).abs().max()),
        rms_alone=alone[0] if alone else None,
        accuracy_alone=alone[1] if alone else None,
    )


def shot_noise_alone(
    trained: TrainedModel,
    pair: tuple[Measurement, Measurement],
    matrix: Array,
    redraws: int,
    seed: int,
) -> tuple[Alone, Alone] | None:
    """The error of the logits and the accuracy, if the backend differed from the reference by nothing but its shots.

    Args:
        trained: The model; it is run on all examples for each draw.
        pair: The backend and the reference.
        matrix: The outputs of its circuits, shape (outputs, 2**n).
        redraws: How many times the shots are drawn.
        seed: The source of randomness.

    Returns:
        None if both are exact.
    """
    backend, reference = pair
    if backend.exact and reference.exact:
        return None
    common = pooled(backend, reference, matrix)
    exact = trained.logits(torch.from_numpy(common @ matrix.T))
    drawn = [
        redraw(common, measurement.effective_shots(matrix), redraws, derive(seed, side)) @ matrix.T
        for side, measurement in zip(("backend", "reference"), pair, strict=True)
    ]
    errors, accuracies = [], []
    for ours, theirs in zip(*drawn, strict=True):
        logits = exact if backend.exact else trained.logits(torch.from_numpy(ours))
        other = exact if reference.exact else trained.logits(torch.from_numpy(theirs))
        errors.append(float((logits - other).square().mean().sqrt()))
        accuracies.append(float((logits.argmax(1) == trained.labels.cpu()).double().mean()))
    return Alone.of(np.array(errors)), Alone.of(np.array(accuracies))


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a proportion by Wilson's score.

    Example:
        >>> [round(bound, 3) for bound in wilson(9, 10)]
        [0.596, 0.982]
    """
    interval = scipy.stats.binomtest(successes, n).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def _matched(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Wald's interval with half an example added to each of the four cells (Agresti and Min 2005)."""
    b, c, total = gained + 0.5, lost + 0.5, n + 2
    difference = (b - c) / total
    half = Z95 * float(np.sqrt(b + c - (b - c) ** 2 / total)) / total
    return difference - half, difference + half


def _bootstrap_rms(squares: Array, resamples: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(derive(seed, "examples"))
    means = [
        squares[rng.integers(len(squares), size=len(squares))].mean() for _ in range(resamples)
    ]
    low, high = np.sqrt(np.quantile(means, [0.025, 0.975]))
    return float(low), float(high)
