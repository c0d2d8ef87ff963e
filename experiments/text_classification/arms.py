"""The runs of one attention with one optimizer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.shared.optimizers import OPTIMIZERS
from experiments.text_classification.step_times import read_step_times
from hybridq.study.runs import Run, find_runs
from hybridq.study.sections import Curve

__all__ = ["Arm", "Arms", "attention_name", "read_arms"]

_ATTENTION_NAMES = {"quantum": "quantum attention", "plain": "plain attention"}


def attention_name(attention: str) -> str:
    """Return what a page calls an attention: "plain", "quantum", or the name of a score."""
    return _ATTENTION_NAMES.get(attention, f"attention by {attention}")


@dataclass(frozen=True)
class Arm:
    """The runs of one attention with one optimizer, a run for each seed.

    Args:
        attention: "plain", "quantum", or the name of a score.
        optimizer: A key of `experiments.shared.optimizers.OPTIMIZERS`.
        runs: The records, in the order of the seeds.
        step_milliseconds: CPU time of a training step, milliseconds.
    """

    attention: str
    optimizer: str
    runs: tuple[Run, ...]
    step_milliseconds: float

    @property
    def label(self) -> str:
        """The optimizer's name on the page."""
        return OPTIMIZERS[self.optimizer].label

    @property
    def accuracy(self) -> list[float | None]:
        """The test accuracy of each seed after the last step."""
        return self._values(lambda result: result["test_accuracy"])

    @property
    def epochs(self) -> list[float | None]:
        """The epochs that each seed needs to the level; None where it never got there."""
        return self._values(lambda result: result["crossings"][0]["epochs"])

    def curve(self, kind: str, value: str) -> Curve:
        """Make one line of a plot, with a row for each seed.

        Args:
            kind: The kind of the lines in a run's metrics, for example "epoch".
            value: The number in each of these lines, for example "train_loss".

        Returns:
            The line.
        """
        rows = [[line for line in run.metrics() if line["kind"] == kind] for run in self.runs]
        positions = tuple(float(line["epoch"]) for line in rows[0])
        values = tuple(tuple(line[value] for line in row) for row in rows)
        return Curve(self.label, positions, values, attention_name(self.attention))

    def _values(self, pick: Callable[[dict[str, Any]], float | None]) -> list[float | None]:
        return [pick(run.result or {}) for run in self.runs]


Arms = dict[tuple[str, str], Arm]  # by (attention, optimizer)


def read_arms(folder: Path) -> Arms:
    """Read all runs below a folder.

    Args:
        folder: The folder of the runs and of `step_times.json`.

    Returns:
        The arms by (attention, optimizer), quantum attention first, the optimizers in the order of
        their table.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in find_runs(folder):
        groups.setdefault((run.config["attention"], run.config["optimizer"]), []).append(run)
    seconds = read_step_times(folder)
    return {
        key: Arm(*key, runs=tuple(groups[key]), step_milliseconds=1e3 * seconds[key])
        for key in sorted(groups, key=_order)
    }


def _order(key: tuple[str, str]) -> tuple[int, str, int]:
    attention, optimizer = key
    known = list(_ATTENTION_NAMES)
    place = known.index(attention) if attention in known else len(known)
    return place, attention, list(OPTIMIZERS).index(optimizer)
