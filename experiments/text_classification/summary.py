"""All runs of the experiment in one small file."""

from pathlib import Path
from typing import Any

from hybridq.study.runs import find_runs

__all__ = ["summary_of"]

_OF_ALL_RUNS = ("data", "epochs", "train_size", "level", "data_provenance")
_OF_EACH_RUN = ("attention", "optimizer", "seed")


def summary_of(folder: Path) -> dict[str, Any]:
    """Gather what was run, where, and the result of each run.

    Args:
        folder: The folder of the runs.

    Returns:
        JSON values.
    """
    runs = find_runs(folder)
    first = runs[0]
    return {
        "environment": first.environment,
        **{key: first.config[key] for key in _OF_ALL_RUNS},
        "runs": [
            {key: run.config[key] for key in _OF_EACH_RUN} | {"result": run.result} for run in runs
        ],
    }
