"""All runs of an experiment in one small file, fit to be committed."""

import json
from pathlib import Path

from hybridq.study.runs import find_runs

__all__ = ["write_summary"]


def write_summary(folder: Path) -> Path:
    """Write `summary.json`: what was run, where, and what came out of each run.

    Args:
        folder: The folder of the runs.

    Returns:
        The path of the file.
    """
    runs = find_runs(folder)
    common = {
        key: runs[0].config[key]
        for key in ("data", "epochs", "train_size", "level", "data_provenance")
    }
    found = [
        {key: run.config[key] for key in ("attention", "optimizer", "seed")}
        | {"result": run.result}
        for run in runs
    ]
    path = folder / "summary.json"
    content = {"environment": runs[0].environment, **common, "runs": found}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path
