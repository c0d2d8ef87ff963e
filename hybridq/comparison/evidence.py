"""Everything that a metric can be computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hybridq.comparison.distances import Distance, Resampling, Statistic, distances, redraw
from hybridq.comparison.measuring import Array, Measurement
from hybridq.comparison.models import TrainedModel
from hybridq.comparison.pairs import Pair
from hybridq.comparison.subjects import Subject
from hybridq.errors import InvalidArgument
from hybridq.seeding import derive

__all__ = ["Evidence", "LogitPair"]


@dataclass(frozen=True, eq=False)
class LogitPair:
    """The logits of a model on two backends.

    Args:
        ours: The logits on the backend, shape (examples, classes), float64.
        theirs: The logits on the reference, the same shape.
    """

    ours: Tensor
    theirs: Tensor

    @property
    def error(self) -> float:
        """The root mean square difference of both."""
        return float((self.ours - self.theirs).square().mean().sqrt())


@dataclass(frozen=True, eq=False)
class Evidence:
    """A backend's measurement beside the reference's, and how shots are drawn again.

    No circuit is run from here: logits, too, are computed from the measured probabilities.

    Args:
        subject: The circuits that were measured, and their model if there is one.
        measurement: What the backend gave.
        of_reference: The evidence of the reference; None if this is the reference's own.
        draws: The number of simulated draws of the shots for a distance.
        model_draws: The number of draws for the model, which is run on all its examples for each.
        seed: The source of randomness of the whole comparison.
        statistics: The distances of distributions that metrics ask for, by the metric's name. Each
            makes distances, shape (...), of two arrays of probabilities, shape (..., 2**n).
    """

    subject: Subject
    measurement: Measurement
    of_reference: "Evidence | None"
    draws: int
    model_draws: int
    seed: int
    statistics: Mapping[str, Statistic] = field(default_factory=dict)

    @cached_property
    def pair(self) -> Pair:
        """The measurement and that of the reference, which may be the same."""
        reference = self if self.of_reference is None else self.of_reference
        return Pair(self.measurement, reference.measurement, self.subject.matrix.numpy())

    def resampling(self, *path: str | int) -> Resampling:
        """Return how a metric draws shots again.

        Args:
            path: The name of a stream of random numbers of this backend. Metrics with the same
                path take the same draws.
        """
        label = self.measurement.label
        return Resampling(self.draws, derive(self.seed, "compare", label, *path))

    @cached_property
    def distances(self) -> dict[str, Distance]:
        """The distances of distributions, averaged over the points, by the metric's name.

        All of them take the same draws, which cost more than the distances themselves.
        """

        def means(p: Array, q: Array) -> Array:
            return np.stack([one(p, q).mean(-1) for one in self.statistics.values()], -1)

        if not self.statistics:
            return {}
        values = means(self.pair.backend.distributions, self.pair.reference.distributions)
        measured = dict(zip(self.statistics, values.tolist(), strict=True))
        made = distances(measured, means, self.pair, self.resampling("distributions"))
        return {distance.name: distance for distance in made}

    @property
    def trained(self) -> TrainedModel:
        """The model; ask only where the subject has one."""
        if self.subject.trained is None:
            way_out = "there is no model here; let the metric's `applies` say so"
            raise InvalidArgument.of("subject", self.subject.kind, way_out)
        return self.subject.trained

    @cached_property
    def logits(self) -> LogitPair:
        """The logits of the model on the backend and on the reference."""
        ours = self._own_logits
        return LogitPair(ours, ours if self.of_reference is None else self.of_reference._own_logits)

    @cached_property
    def redrawn_logits(self) -> tuple[LogitPair, ...]:
        """The logits of a backend that differs by nothing but its shots, for each draw.

        There are none if both are exact, or if this is the reference itself.
        """
        pair = self.pair
        if self.of_reference is None or pair.exact:
            return ()
        ours = self._redrawn("backend", pair.backend)
        theirs = self._redrawn("reference", pair.reference)
        return tuple(map(LogitPair, ours, theirs))

    @cached_property
    def _own_logits(self) -> Tensor:
        logits = self._logits_on(self.measurement.outputs(self.pair.matrix))
        if not bool(logits.isfinite().all()):
            name = type(self.trained.model).__name__
            raise InvalidArgument.of("model", name, "its logits are not finite; train another")
        return logits

    def _redrawn(self, side: str, measurement: Measurement) -> list[Tensor]:
        """Return the logits for each draw of one side's shots; exact ones are computed once."""
        pair = self.pair
        if measurement.exact:
            return [self._logits_on(pair.common @ pair.matrix.T)] * self.model_draws
        seed = derive(derive(self.resampling().seed, "model"), side)
        shots = measurement.effective_shots(pair.matrix)
        drawn = redraw(pair.common, shots, Resampling(self.model_draws, seed))
        return [self._logits_on(outputs) for outputs in drawn @ pair.matrix.T]

    def _logits_on(self, outputs: Array) -> Tensor:
        return self.trained.logits(torch.from_numpy(outputs))
