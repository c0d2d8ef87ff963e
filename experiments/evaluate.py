"""Try a trained classifier on another backend: `python -m experiments.evaluate RUN --backend aer`.

This is a tool for the runs of `experiments.text_classification`, not an experiment.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from experiments.shared.command_line import run
from experiments.text_classification.loading import load_run
from hybridq.backends import AbstractBackend, BackendSpec, resolve
from hybridq.errors import InvalidArgument
from hybridq.layers import circuit_modules, to_backend
from hybridq.study.training import evaluate

__all__ = ["load_run", "main"]  # `load_run` was here first, and old commands name it.


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
    layers = len(circuit_modules(model))
    how = f"{shots:,} shots each" if shots else "as the backend says"
    print(f"backend        {backend} ({how})")
    print(f"test accuracy  {accuracy:.4f} on {len(data.test):,} sentences")
    print(f"test loss      {loss:.8f}")
    print(f"circuits run   {where.n_circuits_run}: {where.n_circuits_run / layers:g} per layer")
    print(f"seconds        {seconds:.1f}")
    print(f"provenance     {json.dumps(where.provenance())}")


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
