"""Every noise tried on every run: the records, the summary, and the table for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from experiments.noise.effects import (
    Effect,
    accuracy_of,
    measure_effect,
    outputs_of,
    without_circuits,
)
from experiments.noise.settings import NoiseSetting
from experiments.text_classification.loading import load_run
from hybridq.layers import to_backend
from hybridq.seeding import derive
from hybridq.study.data import Split
from hybridq.study.runs import Run
from hybridq.study.statistics import summarize

__all__ = ["evaluate_run", "summary_of", "table_lines"]

_CONTROL_MEASURES = ("accuracy", "reclassed", "logit_error")


def evaluate_run(
    path: Path, folder: Path, settings: Sequence[NoiseSetting], draws: int, size: int | None
) -> dict[str, Any]:
    """Evaluate one trained run under every noise, and record what comes out.

    Args:
        path: The folder of the trained run.
        folder: The folder of the results; the record gets a folder in it.
        settings: The noises.
        draws: Number of seeds of the shots for each setting that has shots.
        size: Number of test sentences; None for all.

    Returns:
        JSON values: the name of the run, its accuracy without noise, the control without circuits,
        the harmonics, and in "rows" the effect of each setting and draw.
    """
    model, data = load_run(path)
    split = Split(data.test.ids[:size], data.test.labels[:size])
    trained = Run.load(path)
    config = {"run": trained.config, "draws": draws, "sentences": len(split)}
    record = Run.create(folder, trained.name, config)
    exact = outputs_of(to_backend(model, "statevector"), split)  # type: ignore[arg-type]
    control = without_circuits(model, split, exact)
    rows: list[dict[str, Any]] = []
    for setting in track(settings, record.name, console=Console(stderr=True), transient=True):
        for draw in range(draws if setting.shots else 1):
            # No two settings share their shots.
            seed = derive(draw, "noise", record.name, *map(str, asdict(setting).values()))
            effect = measure_effect(model, split, exact, setting.backend(seed))
            rows.append(asdict(setting) | {"draw": draw} | asdict(effect))
            record.log(**rows[-1])
    result = {
        "accuracy": accuracy_of(exact.logits, split.labels),
        "without_circuits": control,
        "harmonics": exact.harmonics.norm(dim=(0, 1)).tolist(),
    }
    record.finish(result)
    return result | {"run": record.name, "rows": rows}


def summary_of(
    evaluations: Sequence[Mapping[str, Any]], settings: Sequence[NoiseSetting]
) -> dict[str, Any]:
    """Gather the results of all runs.

    Args:
        evaluations: What `evaluate_run` returned for each run.
        settings: The noises.

    Returns:
        JSON values: in "runs" what is known of each run without noise, and in "settings" for each
        noise a list of numbers, one for each run: the mean of its draws.
    """
    runs = [{key: value for key, value in each.items() if key != "rows"} for each in evaluations]
    table = [asdict(setting) | _means(setting, evaluations) for setting in settings]
    return {"runs": runs, "settings": table}


def _means(setting: NoiseSetting, evaluations: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Average each measure over the draws of a setting, run by run."""
    means: dict[str, list[Any]] = {measure.name: [] for measure in fields(Effect)}
    wanted = asdict(setting)
    for evaluation in evaluations:
        rows = [row for row in evaluation["rows"] if wanted.items() <= row.items()]
        for measure, values in means.items():
            draws = torch.tensor([row[measure] for row in rows], dtype=torch.float64)
            values.append(draws.mean(0).tolist())
    return means


def table_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Write a table for the terminal, line by line.

    A row is a noise, and its numbers are means over runs and draws.

    Args:
        summary: What `summary_of` returned.

    Yields:
        The lines.
    """
    before = [run["accuracy"] for run in summary["runs"]]
    control = {
        measure: [run["without_circuits"][measure] for run in summary["runs"]]
        for measure in _CONTROL_MEASURES
    }
    yield f"without noise     {summarize(before).text(2, percent=True)}"
    yield f"without circuits  {summarize(control['accuracy']).text(2, percent=True)}"
    names = ("accuracy", "change", "reclassed", "of logits", "of Phi")
    heads = " ".join(f"{name:>9}" for name in names)
    yield f"{'noise':14} {'level':>7} {'shots':>7} {'':9} {heads}"
    setting = {"noise": "no circuits", "level": 1, "shots": None, "mitigated": False}
    for row in [{**setting, "phi_error": [1.0], **control}, *summary["settings"]]:
        yield _table_line(row, _mean(before))


def _table_line(row: Mapping[str, Any], accuracy_before: float) -> str:
    accuracy = _mean(row["accuracy"])
    cells = [
        f"{accuracy:9.2%}",
        f"{100 * (accuracy - accuracy_before):+9.2f}",
        *(f"{_mean(row[key]):9.2%}" for key in ("reclassed", "logit_error", "phi_error")),
    ]
    shots = row["shots"] or "exact"
    mitigation = "mitigated" if row["mitigated"] else ""
    return f"{row['noise']:14} {row['level']:7g} {shots:>7} {mitigation:9} {' '.join(cells)}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
