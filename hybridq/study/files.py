"""How files are written: values as plain JSON, and whole files at once."""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hybridq.study.environment import without_home

__all__ = ["to_plain", "write_whole"]


def to_plain(value: Any) -> Any:
    """Turn dataclasses, mappings, sequences, tensors, arrays and paths into what JSON has.

    Numbers that JSON does not have become the strings "nan", "inf" and "-inf", and the user's
    folder in a path becomes "~".
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, (str, Path)):
        return without_home(str(value))
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return to_plain(value.tolist())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file aside and rename it, so that a crash leaves the old one or the new one.

    Args:
        path: Where.
        content: Text, which is written in UTF-8, or bytes.
    """
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
