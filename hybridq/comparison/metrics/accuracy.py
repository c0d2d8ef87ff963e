"""The accuracy of a trained model, beside that on the reference."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.stats
from torch import Tensor

from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.deviations import Z95
from hybridq.comparison.estimates import Estimate, NoiseFloor
from hybridq.comparison.evidence import Evidence, LogitPair
from hybridq.comparison.metrics._metric import MODEL, AbstractMetric
from hybridq.comparison.notation import interval, percent, signed, small_p
from hybridq.comparison.subjects import Subject
from hybridq.comparison.verdicts import LEVEL, Kind
from hybridq.study.sections import Entry, Highlight

__all__ = ["Accuracy", "PairedAccuracy", "paired_accuracy", "wilson"]


@dataclass(frozen=True)
class PairedAccuracy:
    """The accuracy of a model on a backend, beside that of the same model on the reference.

    Args:
        correct: The number of examples that are classified rightly.
        examples: The number of all examples.
        interval: The 95 % interval of the accuracy by Wilson's score.
        lost: The number of examples that only the reference has right.
        gained: The number of examples that only the backend has right.
        changed: The number of examples whose class changes.
        difference: The accuracy minus the reference's.
        difference_interval: Its 95 % interval (Agresti and Min 2005, for matched pairs).
        p: McNemar's exact p-value.
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
    accuracy_alone: NoiseFloor | None = None

    @property
    def accuracy(self) -> float:
        """The share of examples that are classified rightly, between 0 and 1."""
        return self.correct / self.examples


class Accuracy(AbstractMetric[PairedAccuracy]):
    """The share of test examples that the model classifies rightly."""

    name = "accuracy"
    title = "accuracy"
    order = 50
    part = MODEL
    percent = True
    caption = (
        "Accuracy: the coloured line is the 95 % interval for new examples, the dashed line the "
        "reference."
    )
    is_of_one_backend = True

    def applies(self, subject: Subject) -> bool:
        """Tell whether there is a model."""
        return subject.trained is not None

    def compute(self, evidence: Evidence) -> PairedAccuracy:
        """Compute the accuracy on the test examples."""
        labels = evidence.trained.labels
        right = [_is_right(redrawn.ours, labels) for redrawn in evidence.redrawn_logits]
        accuracies = np.array([float(one.double().mean()) for one in right])
        alone = NoiseFloor.of(accuracies) if right else None
        return paired_accuracy(labels, evidence.logits, alone)

    def compute_reference(self, evidence: Evidence) -> PairedAccuracy:
        """Compute the accuracy of the reference, which differs from itself by nothing."""
        return self.compute(evidence)

    def estimate(self, value: PairedAccuracy) -> Estimate:
        """Return the accuracy."""
        return Estimate(value.accuracy, value.interval, value.accuracy_alone)

    def columns(self) -> tuple[str, ...]:
        """Return the headings: the accuracy, and its difference from the reference's."""
        return ("accuracy", "difference", "changed", "McNemar")

    def cells(self, value: PairedAccuracy) -> tuple[Entry, ...]:
        """Return the accuracy, and its difference from the reference's."""
        difference = f"{signed(100 * value.difference, 2)} points"
        return (
            Entry(percent(value.accuracy, 2), interval(value.interval, 1, 100, " %")),
            Entry(difference, interval(value.difference_interval, 2, 100)),
            Entry(f"{value.changed}", f"{value.lost} lost\n{value.gained} gained"),
            Entry(small_p(value.p)),
        )

    def sentences(self, value: PairedAccuracy, kind: Kind, subject: Subject) -> tuple[str, ...]:
        """Say whether the model classifies as before."""
        del kind, subject
        accuracy, examples = percent(value.accuracy, 1), f"{value.examples:,} examples"
        if not value.changed:
            same = f"The model classifies all {examples} as on the reference"
            return (f"{same}, {accuracy} of them rightly.",)
        bounds = " to ".join(signed(100 * bound, 2) for bound in value.difference_interval)
        if value.p < LEVEL:
            conclusion = "a difference that chance does not explain"
        else:
            conclusion = "no difference can be told from chance"
        return (
            f"{value.changed} of {examples} change their class. The model's accuracy is "
            f"{accuracy}, {signed(100 * value.difference, 2)} points (95 %: {bounds}): "
            f"{conclusion} (McNemar's test, {small_p(value.p)}).",
        )

    def highlights(self, results: Sequence[BackendResult]) -> tuple[Highlight, ...]:
        """Return the lowest and the highest accuracy of all backends."""
        values: list[PairedAccuracy] = [one[self.name] for one in results]
        accuracies = [value.accuracy for value in values]
        span = percent(accuracies[0], 1)
        if len(set(accuracies)) > 1:
            span = f"{100 * min(accuracies):.1f} to {percent(max(accuracies), 1)}"
        examples = f"{values[0].examples:,} test examples"
        return (Highlight(span, "accuracy of the model", examples),)

    def to_json(self, value: PairedAccuracy | None) -> dict[str, Any]:
        """Return the accuracy under "model", beside the errors of the logits."""
        return {"model": None if value is None else asdict(value)}


def paired_accuracy(
    labels: Tensor, logits: LogitPair, alone: NoiseFloor | None = None
) -> PairedAccuracy:
    """Compare classifications of the same examples.

    Args:
        labels: The classes, shape (examples,).
        logits: The logits of the backend and of the reference.
        alone: The accuracy that shot noise alone gives.
    """
    right = _is_right(logits.ours, labels)
    right_before = _is_right(logits.theirs, labels)
    lost = int((right_before & ~right).sum())
    gained = int((right & ~right_before).sum())
    n = len(labels)
    correct = int(right.sum())
    discordant = gained + lost
    return PairedAccuracy(
        correct=correct,
        examples=n,
        interval=wilson(correct, n),
        lost=lost,
        gained=gained,
        changed=int((logits.ours.argmax(1) != logits.theirs.argmax(1)).sum()),
        difference=(gained - lost) / n,
        difference_interval=_matched(gained, lost, n),
        p=float(scipy.stats.binomtest(gained, discordant).pvalue) if discordant else 1.0,
        accuracy_alone=alone,
    )


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion by Wilson's score.

    Example:
        >>> [round(bound, 3) for bound in wilson(9, 10)]
        [0.596, 0.982]
    """
    bounds = scipy.stats.binomtest(successes, n).proportion_ci(0.95, "wilson")
    return float(bounds.low), float(bounds.high)


def _is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Tell of each example whether it is classified rightly, shape (examples,)."""
    return logits.argmax(1) == labels.cpu()


def _matched(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Return Wald's interval of the difference of two proportions of the same examples.

    Half an example is added to each of the four cells (Agresti and Min 2005).
    """
    b = gained + 0.5
    c = lost + 0.5
    total = n + 2
    difference = (b - c) / total
    half = Z95 * float(np.sqrt(b + c - (b - c) ** 2 / total)) / total
    return difference - half, difference + half
