"""What a training step costs with each optimizer: measured alone, in turn, after all trainings."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from experiments.shared.classifier import make_classifier
from experiments.shared.optimizers import OPTIMIZERS
from experiments.text_classification.jobs import Job
from hybridq.study.data import TextData, load

__all__ = ["read_step_times", "write_step_times"]

_BATCH = 32
_WARM_UP = 2


def write_step_times(jobs: Sequence[Job], folder: Path, repeats: int) -> None:
    """Time a training step of each attention with each optimizer and write `step_times.json`.

    The numbers are medians of CPU time on one thread. All kinds are measured in turn, so that other
    work on the machine meets all of them.

    Args:
        jobs: The runs of the experiment.
        folder: The folder to write into.
        repeats: Number of steps of each kind.
    """
    torch.set_num_threads(1)
    data = load(jobs[0].data, n_train=jobs[0].train_size, n_test=jobs[0].test_size)
    kinds = sorted({(job.attention, job.optimizer) for job in jobs})
    steps = {kind: _step(data, *kind) for kind in kinds}
    times: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    for _ in range(repeats + _WARM_UP):
        for kind, step in steps.items():
            start = time.process_time()
            step()
            times[kind].append(time.process_time() - start)
    medians = {
        "/".join(kind): statistics.median(values[_WARM_UP:]) for kind, values in times.items()
    }
    content = {"cpu_seconds": medians, "repeats": repeats}
    (folder / "step_times.json").write_text(json.dumps(content, indent=2) + "\n")


def read_step_times(folder: Path) -> dict[tuple[str, str], float]:
    """Read the CPU seconds of a training step by (attention, optimizer)."""
    medians = json.loads((folder / "step_times.json").read_text())["cpu_seconds"]
    times = {}
    for name, seconds in medians.items():
        attention, optimizer = name.split("/")
        times[attention, optimizer] = float(seconds)
    return times


def _step(data: TextData, attention: str, optimizer: str) -> Callable[[], None]:
    model = make_classifier(data.vocab_size, data.n_classes, data.length, attention, seed=0)
    stepper = OPTIMIZERS[optimizer].make(model.parameters())
    ids = data.train.ids[:_BATCH]
    labels = data.train.labels[:_BATCH]

    def step() -> None:
        stepper.zero_grad()
        F.cross_entropy(model(ids), labels).backward()  # type: ignore[no-untyped-call]
        stepper.step()

    return step
