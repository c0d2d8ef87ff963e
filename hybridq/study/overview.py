"""The report of any runs: learning curves and results, with seeds taken together."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from hybridq.errors import DataNotFound
from hybridq.study.runs import Run, find_runs
from hybridq.study.sections import (
    Cell,
    Column,
    Curve,
    CurvePlot,
    Facts,
    Report,
    Section,
    Table,
    what_was_run,
)
from hybridq.study.statistics import summarize

__all__ = ["overview"]

_POSITIONS = ("epoch", "step", "seconds")


def overview(path: str | Path) -> Report:
    """Describe one run, or all runs below a folder.

    Runs whose configurations differ only in seeds are one line of a plot and one row of the table.
    Its name is what sets these runs apart from the others. A curve goes as far as the shortest of
    its runs.

    Args:
        path: The folder of a run, or a folder of runs.

    Returns:
        The report, for `write_report`.

    Raises:
        DataNotFound: If there is no run.
        DataCorrupted: If a record is malformed.
    """
    runs = [Run.load(path)] if (Path(path) / "config.json").is_file() else find_runs(path)
    if not runs:
        raise DataNotFound(
            f"there are no runs in {str(path)!r}. "
            "A run is a folder with config.json and metrics.jsonl."
        )
    groups = _groups(runs)
    finished = sum(run.result is not None for run in runs)
    facts = {"runs": f"{len(runs)}, of which {finished} finished", "settings": str(len(groups))}
    sections: list[Section] = [
        *_plots(groups),
        *_results(groups),
        _common(runs),
        what_was_run(runs[0].environment, facts),
    ]
    lead = f"{_counted(runs, 'run')} of {_counted(groups, 'setting')}, {finished} finished."
    return Report(Path(path).resolve().name, lead, tuple(sections), eyebrow="hybridq runs")


def _counted(items: Sized, word: str) -> str:
    return f"{len(items)} {word}{'s' if len(items) > 1 else ''}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _settings(runs: Sequence[Run]) -> tuple[list[dict[str, str]], list[str]]:
    """Return the configuration of each run without seeds, and the names of what differs."""
    configs = [
        {key: str(v) for key, v in _flat(run.config) if key.split(".")[-1] != "seed"}
        for run in runs
    ]
    names = dict.fromkeys(key for config in configs for key in config)
    return configs, [name for name in names if len({config.get(name) for config in configs}) > 1]


def _groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    configs, differing = _settings(runs)
    groups: dict[str, list[Run]] = defaultdict(list)
    for run, config in zip(runs, configs, strict=True):
        label = ", ".join(f"{name} {config[name]}" for name in differing if name in config)
        groups[label or (run.name if len(runs) == 1 else "all runs")].append(run)
    return groups


def _common(runs: Sequence[Run]) -> Facts:
    configs, differing = _settings(runs)
    return Facts(
        "What all runs share",
        {key: value for key, value in configs[0].items() if key not in differing},
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _series(run: Run) -> dict[str, dict[float, float]]:
    """Return each quantity by its position.

    Evaluations, where a run has any, are finer than whole epochs.
    """
    rows = [row for row in run.metrics() if _is_number(row.get("epoch"))]
    rows = [row for row in rows if row.get("kind") == "evaluation"] or rows
    series: dict[str, dict[float, float]] = defaultdict(dict)
    for row in rows:
        for key, value in row.items():
            if key not in _POSITIONS and _is_number(value):
                series[key][row["epoch"]] = value
    return series


def _plots(groups: Mapping[str, Sequence[Run]]) -> Iterator[CurvePlot]:
    by_label = {label: [_series(run) for run in runs] for label, runs in groups.items()}
    for key in dict.fromkeys(key for series in by_label.values() for one in series for key in one):
        curves = []
        for label, series in by_label.items():
            seeds = [one[key] for one in series if key in one]
            if seeds:
                x = sorted(set.intersection(*map(set, seeds)))
                curves.append(
                    Curve(label, tuple(x), tuple(tuple(seed[at] for at in x) for seed in seeds))
                )
        yield CurvePlot(
            key.replace("_", " "),
            tuple(curves),
            y_label=key.replace("_", " "),
            percent=key.endswith("accuracy"),
        )


def _results(groups: Mapping[str, Sequence[Run]]) -> Iterator[Table]:
    results = {
        label: [dict(_flat(run.result or {})) for run in runs] for label, runs in groups.items()
    }
    every = dict.fromkeys(
        key for rows in results.values() for row in rows for key in row if _is_number(row[key])
    )
    if every:
        columns = (Column("setting"), *(Column(key, 4) for key in every))
        table: list[tuple[Cell, ...]] = [
            (label, *(summarize([row.get(key) for row in rows]) for key in every))
            for label, rows in results.items()
        ]
        yield Table(
            "Results",
            columns,
            tuple(table),
            "Mean, standard deviation and 95 % interval over the seeds.",
        )
