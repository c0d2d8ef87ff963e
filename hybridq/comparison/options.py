"""How to compare: seeds, shots, stored records, metrics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridq.comparison.metrics import AbstractMetric
from hybridq.errors import InvalidArgument
from hybridq.seeding import derive

__all__ = ["CompareOptions"]


@dataclass(frozen=True)
class CompareOptions:
    """How to compare.

    Args:
        shots: The shots of backends that need them and name none; None takes the number that
            another backend names.
        seed: The source of randomness of the simulated draws here. The shots themselves are drawn
            by each backend's own seed.
        resamples: The number of simulated draws of the shots, for what shot noise alone gives.
        redraws: The same for a model, which is run on its whole test set for each draw.
        stored: The records of earlier comparisons, compare.json, whose backends are compared
            again; nothing is run for them.
        loader: The function that loads the folder of a run, "package.module:function"; None takes
            the one that the run's record names.
        price_per_minute: The price of a minute of QPU time in your plan, in any currency; None
            shows seconds only.
        metrics: Metrics of your own beside those of hybridq, as objects or as
            "package.module:Class".

    Raises:
        InvalidArgument: If a number is out of range.
    """

    shots: int | None = None
    seed: int = 0
    resamples: int = 1000
    redraws: int = 20
    stored: tuple[str | Path, ...] = ()
    loader: str | None = None
    price_per_minute: float | None = None
    metrics: tuple[str | AbstractMetric[Any], ...] = ()

    def __post_init__(self) -> None:
        derive(self.seed)  # refuses what is no seed
        if self.shots is not None and (isinstance(self.shots, bool) or self.shots < 1):
            raise InvalidArgument.of("shots", self.shots, "give a positive integer, or None")
        if self.resamples < 100:
            reason = "quantiles of 2.5 % need 100 at least"
            raise InvalidArgument.of("resamples", self.resamples, reason)
        if self.redraws < 2:
            raise InvalidArgument.of("redraws", self.redraws, "give 2 at least")
        price = self.price_per_minute
        if price is not None and not price >= 0:
            raise InvalidArgument.of("price_per_minute", price, "give a number, or None")

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values, files by their names, without folders."""
        metrics = [one if isinstance(one, str) else type(one).__name__ for one in self.metrics]
        return {
            "shots": self.shots,
            "seed": self.seed,
            "resamples": self.resamples,
            "redraws": self.redraws,
            "loader": self.loader,
            "price_per_minute": self.price_per_minute,
            "metrics": metrics,
            "stored": [Path(path).name for path in self.stored],
        }
