"""The training runs of the experiment, and how they share the cores."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.shared.classifier import make_classifier
from experiments.shared.optimizers import OPTIMIZERS
from experiments.text_classification.loading import LOADER
from hybridq.study.data import load
from hybridq.study.runs import Run
from hybridq.study.training import TrainConfig, train

__all__ = ["ATTENTIONS", "Job", "list_jobs", "run_all", "run_job", "usual_level"]

# The paper's level is 90 % on its synthetic task; real sentences are harder for so small a model.
_LEVELS = {"synthetic": 0.9, "sst2": 0.7, "films": 0.63}
_LEVEL_OF_OTHERS = 0.7

ATTENTIONS = {"plain": ("plain",), "quantum": ("quantum",), "both": ("plain", "quantum")}


@dataclass(frozen=True)
class Job:
    """One training run, as it is recorded.

    Args:
        data: Name of the data set, as `hybridq.study.data.load` takes it.
        attention: "plain", "quantum", or the name of a score.
        optimizer: A key of `experiments.shared.optimizers.OPTIMIZERS`.
        seed: The source of the initial weights, the order of the data and the dropout.
        epochs: Passes over the training sentences.
        train_size: Number of training sentences; None for all.
        test_size: Number of test sentences; None for all.
        level: The test accuracy whose first crossing is reported.
    """

    data: str
    attention: str
    optimizer: str
    seed: int
    epochs: int
    train_size: int | None
    test_size: int | None
    level: float

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        attention = self.attention.replace(":", ".")  # of a score in a module of somebody's own
        return f"{attention}-{self.optimizer}-seed{self.seed}"

    def smallest(self) -> "Job":
        """Return the same run in its smallest size: one epoch, few sentences."""
        return replace(self, epochs=1, train_size=96, test_size=64)


def usual_level(data: str) -> float:
    """Return the test accuracy whose first crossing is reported for a data set."""
    return _LEVELS.get(data, _LEVEL_OF_OTHERS)


def list_jobs(
    attentions: Sequence[str], optimizers: Sequence[str], seeds: int, job: Job
) -> list[Job]:
    """List all runs of an experiment.

    Plain attention with Adam is always among them, as the control of quantum attention.

    Args:
        attentions: "plain", "quantum" and names of scores.
        optimizers: Keys of `experiments.shared.optimizers.OPTIMIZERS`.
        seeds: Number of seeds.
        job: What all runs have in common.

    Returns:
        The runs, seed by seed.
    """
    pairs = [(attention, optimizer) for attention in attentions for optimizer in optimizers]
    if ("plain", "adam") not in pairs:
        pairs.insert(0, ("plain", "adam"))
    return [
        replace(job, attention=attention, optimizer=optimizer, seed=seed)
        for seed in range(seeds)
        for attention, optimizer in pairs
    ]


def run_job(job: Job, folder: Path) -> str:
    """Train once, on one thread, and record the run.

    Args:
        job: The run.
        folder: The folder of all runs.

    Returns:
        The name of the run, which is that of its folder.
    """
    torch.set_num_threads(1)
    data = load(job.data, n_train=job.train_size, n_test=job.test_size)
    settings = asdict(job) | {"data_provenance": data.provenance}
    record = Run.create(folder, job.name, settings, loader=LOADER)
    model = make_classifier(
        data.vocab_size, data.n_classes, data.length, job.attention, seed=job.seed
    )
    config = TrainConfig(epochs=job.epochs, seed=job.seed, levels=(job.level,))
    train(model, data, OPTIMIZERS[job.optimizer].make, config, record)
    return job.name


def run_all(jobs: Sequence[Job], folder: Path, workers: int | None = None) -> None:
    """Train all, each run in one process, with one progress bar.

    Args:
        jobs: The runs.
        folder: The folder of all runs.
        workers: Number of processes; None for one on each core.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    pool = ProcessPoolExecutor(
        min(workers or os.cpu_count() or 1, len(jobs)),
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(sys.orig_argv,),
    )
    with pool, Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"training on {jobs[0].data}", total=len(jobs))
        for done in as_completed([pool.submit(run_job, job, folder) for job in jobs]):
            progress.advance(task)
            progress.console.print(f"{done.result()} done", highlight=False)


def _begin(command: list[str]) -> None:
    """Leave the terminal to the parent's progress bar, and record the parent's command."""
    os.environ["TTY_COMPATIBLE"] = "0"
    sys.orig_argv[:] = command
