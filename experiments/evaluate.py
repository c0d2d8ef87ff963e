"""A trained classifier on another backend: `python -m experiments.evaluate RUN --backend aer --shots 4096`."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from experiments._command import run
from experiments.classifier import TextClassifier, make_classifier
from hybridq.backends import AbstractBackend, BackendSpec, resolve
from hybridq.errors import CheckpointMismatch, DataNotFound, InvalidArgument
from hybridq.layers import QuantumAttention, to_backend
from hybridq.study.data import TextData, load
from hybridq.study.runs import Run, load_checkpoint
from hybridq.study.training import evaluate


def main(
    checkpoint: Annotated[
        Path, typer.Argument(help="the folder of a run of experiments.text_classification")
    ],
    backend: Annotated[
        str, typer.Option(help="where the circuits run, for example aer:noise=fake_torino")
    ] = "statevector",
    shots: Annotated[int | None, typer.Option(help="shots per circuit; exact by default")] = None,
) -> None:
    """Evaluate a run's checkpoint on its test sentences; print accuracy, circuits and seconds."""
    where = _with_shots(backend, shots)
    model, data = load_run(checkpoint)
    to_backend(model, where)
    start = time.perf_counter()
    loss, accuracy = evaluate(model, data.test)
    seconds = time.perf_counter() - start
    layers = sum(isinstance(module, QuantumAttention) for module in model.modules())
    how = f"{shots:,} shots each" if shots else "as the backend says"
    print(f"backend        {backend} ({how})")
    print(f"test accuracy  {accuracy:.4f} on {len(data.test):,} sentences")
    print(f"test loss      {loss:.8f}")
    print(f"circuits run   {where.n_circuits_run}: {where.n_circuits_run / layers:g} per layer")
    print(f"seconds        {seconds:.1f}")
    print(f"provenance     {json.dumps(where.provenance())}")


def load_run(path: Path) -> tuple[TextClassifier, TextData]:
    """Load a run's model and data.

    Args:
        path: The folder of the run.

    Returns:
        The model with its trained weights, and the data that it was trained and is tested on.

    Raises:
        DataNotFound: If the folder is no run, or has no checkpoint.
        CheckpointMismatch: If the run has plain attention, or its weights do not fit.
    """
    record = Run.load(path)
    config = record.config
    missing = [
        key for key in ("attention", "data", "train_size", "test_size", "seed") if key not in config
    ]
    if missing:
        raise CheckpointMismatch(
            f"checkpoint={str(path)!r}: no run of experiments.text_classification, it lacks {missing}"
        )
    if not record.checkpoint.exists():
        raise DataNotFound(
            f"checkpoint={str(path)!r}: the run has no checkpoint.pt; it did not finish"
        )
    if config["attention"] != "quantum":
        raise CheckpointMismatch(
            f"checkpoint={str(path)!r}: its attention is plain, there are no circuits to run elsewhere"
        )
    data = load(config["data"], n_train=config["train_size"], n_test=config["test_size"])
    model = make_classifier(
        data.vocab_size, data.n_classes, data.length, "quantum", seed=config["seed"]
    )
    load_checkpoint(model, record.checkpoint)
    return model, data


def _with_shots(backend: str, shots: int | None) -> AbstractBackend:
    if shots is None:
        return resolve(backend)
    spec = BackendSpec.parse(backend)
    if spec.option("shots") is not None:
        way_out = f"backend={backend!r} names shots already; give them once"
        raise InvalidArgument.of("shots", shots, way_out)
    return resolve(spec.with_shots(shots))


if __name__ == "__main__":
    run(main)
