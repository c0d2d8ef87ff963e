"""All numbers of an experiment in one small file, fit to be committed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybridq.study.environment import environment

__all__ = ["write_summary"]


def write_summary(folder: Path, numbers: Mapping[str, Any]) -> Path:
    """Write `summary.json`.

    Args:
        folder: The folder of the results; made if it is missing.
        numbers: JSON values. Unless they hold "environment" already, that of this process is put
            before them.

    Returns:
        The path of the file.
    """
    content = {**numbers} if "environment" in numbers else {"environment": environment(), **numbers}
    path = folder / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path
