"""A trained classifier on another backend."""

import time
from pathlib import Path
from typing import Any

import torch

from experiments.classifier import make_classifier
from hybridq.backends import AbstractBackend, resolve
from hybridq.errors import CheckpointMismatch, DataNotFound, InvalidArgument
from hybridq.layers import QuantumAttention, to_backend
from hybridq.study.data import load
from hybridq.study.runs import Run, load_checkpoint
from hybridq.study.training import evaluate

__all__ = ["evaluate_checkpoint"]


def evaluate_checkpoint(path: Path, backend: str, shots: int | None) -> dict[str, Any]:
    """Evaluate a run's checkpoint on its test sentences and print accuracy, circuits and seconds.

    Args:
        path: The folder of the run.
        backend: A backend's name, perhaps with options.
        shots: Shots per circuit; None as the backend's name says.

    Returns:
        What is printed.

    Raises:
        DataNotFound: If the folder is no run, or has no checkpoint.
        CheckpointMismatch: If the run has plain attention, or its weights do not fit.
    """
    run = Run.load(path)
    config = run.config
    if not run.checkpoint.exists():
        raise DataNotFound(f"checkpoint={str(path)!r}: the run has no checkpoint.pt; it did not finish")
    if config["attention"] != "quantum":
        raise CheckpointMismatch(f"checkpoint={str(path)!r}: its attention is plain, there are no circuits to run elsewhere")
    data = load(config["data"], n_train=config["train_size"], n_test=config["test_size"])
    model = make_classifier(data.vocab_size, data.n_classes, data.length, "quantum", seed=config["seed"])
    load_checkpoint(model, run.checkpoint)
    where = _with_shots(backend, shots)
    to_backend(model, where)
    start = time.perf_counter()
    loss, accuracy = evaluate(model, data.test)
    layers = sum(isinstance(module, QuantumAttention) for module in model.modules())
    found = {
        "backend": where.provenance(),
        "test_accuracy": accuracy,
        "test_loss": loss,
        "circuits": where.n_circuits_run,
        "circuits_per_layer": where.n_circuits_run / layers,
        "seconds": time.perf_counter() - start,
    }
    print(
        f"{run.name} on {backend}{f', {shots} shots' if shots else ''}: test accuracy {accuracy:.4f} ({len(data.test):,} "
        f"sentences), loss {loss:.6f}, {where.n_circuits_run} circuits ({found['circuits_per_layer']:g} per layer), "
        f"{found['seconds']:.1f} s, torch {torch.__version__}"
    )
    return found


def _with_shots(backend: str, shots: int | None) -> AbstractBackend:
    if shots is None:
        return resolve(backend)
    if "shots=" in backend:
        raise InvalidArgument.of("shots", shots, f"backend={backend!r} names shots already; give them once")
    return resolve(f"{backend}{',' if '=' in backend else ':'}shots={shots}")
