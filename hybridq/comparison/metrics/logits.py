"""The error of a trained model's logits."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hybridq.comparison.distances import Resampling
from hybridq.comparison.estimates import Estimate, NoiseFloor
from hybridq.comparison.evidence import Evidence, LogitPair
from hybridq.comparison.measuring import Array
from hybridq.comparison.metrics._metric import MODEL, AbstractMetric
from hybridq.comparison.subjects import Subject
from hybridq.seeding import derive
from hybridq.study.sections import Entry

__all__ = ["Logits", "PairedLogits", "paired_logits"]


@dataclass(frozen=True)
class PairedLogits:
    """The errors of the logits against the reference's on the same examples.

    Args:
        rms: The root mean square error.
        rms_interval: Its 95 % interval over the examples, by the bootstrap.
        largest: The largest error of a logit.
        rms_alone: The root mean square error that shot noise alone gives; None if both are exact.
    """

    rms: float
    rms_interval: tuple[float, float]
    largest: float
    rms_alone: NoiseFloor | None = None


class Logits(AbstractMetric[PairedLogits]):
    """The root mean square error of the logits over all examples and classes."""

    name = "logits"
    title = "error of the logits, rms"
    order = 60
    part = MODEL
    caption = "Error of the logits: the coloured line is the 95 % interval over the examples."
    console = "error of logits"

    def applies(self, subject: Subject) -> bool:
        """Tell whether there is a model."""
        return subject.trained is not None

    def compute(self, evidence: Evidence) -> PairedLogits:
        """Compute the errors of the logits on the test examples."""
        errors = [redrawn.error for redrawn in evidence.redrawn_logits]
        alone = NoiseFloor.of(np.array(errors)) if errors else None
        return paired_logits(evidence.logits, evidence.resampling(), alone)

    def compute_reference(self, evidence: Evidence) -> PairedLogits:
        """Compare the reference with itself: all errors are 0."""
        return self.compute(evidence)

    def estimate(self, value: PairedLogits) -> Estimate:
        """Return the root mean square error."""
        return Estimate(value.rms, value.rms_interval, value.rms_alone)

    def columns(self) -> tuple[str, ...]:
        """Return the headings: the root mean square error, and the largest."""
        return ("logits' error, rms", "largest")

    def cells(self, value: PairedLogits) -> tuple[Entry, ...]:
        """Return the root mean square error, and the largest."""
        return (self.entry(self.estimate(value)), Entry(self.write(value.largest)))

    def to_json(self, value: PairedLogits | None) -> dict[str, Any]:
        """Return the errors under "model", beside the accuracy."""
        return {} if value is None else {"model": asdict(value)}


def paired_logits(
    logits: LogitPair, resampling: Resampling, alone: NoiseFloor | None = None
) -> PairedLogits:
    """Compare logits on the same examples.

    Args:
        logits: The logits of the backend and of the reference.
        resampling: The number of bootstrap samples of the examples, and the seed.
        alone: The root mean square error that shot noise alone gives.
    """
    difference = logits.ours - logits.theirs
    squares = difference.square().mean(1).numpy()  # (examples,)
    rms = float(np.sqrt(squares.mean()))
    largest = float(difference.abs().max())
    return PairedLogits(rms, _bootstrap_interval(squares, resampling), largest, alone)


def _bootstrap_interval(squares: Array, resampling: Resampling) -> tuple[float, float]:
    """Return the 95 % interval of the root of the mean of squares, shape (examples,)."""
    rng = np.random.default_rng(derive(resampling.seed, "examples"))
    n = len(squares)
    means = [squares[rng.integers(n, size=n)].mean() for _ in range(resampling.draws)]
    low, high = np.sqrt(np.quantile(means, [0.025, 0.975]))
    return float(low), float(high)
