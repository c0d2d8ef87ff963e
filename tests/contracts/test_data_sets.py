"""One suite for every file of study/data/: what holds for any data set, with its defaults.

A data set that needs files is tried with those of HYBRIDQ_DATA. Without this variable a directory
stands in that holds what looks like SST-2. A data set whose files are in neither is skipped.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hybridq import catalogue
from hybridq.errors import DataNotFound, InvalidArgument, MissingExtra
from hybridq.study.data import PAD, DataOptions, Split, TextData
from tests.study.data._sst2_files import write_sst2

ROOM = "study.data"
DataSet = Callable[[DataOptions], TextData]


@pytest.fixture(params=catalogue.names(ROOM))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data_set(name: str) -> DataSet:
    function: DataSet = catalogue.load(ROOM, name)
    return function


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("HYBRIDQ_DATA"):
        return Path(os.environ["HYBRIDQ_DATA"])
    folder = tmp_path_factory.mktemp("data")
    write_sst2(folder)
    return folder


def load(data_set: DataSet, options: DataOptions) -> TextData:
    try:
        return data_set(options)
    except (DataNotFound, MissingExtra) as error:
        pytest.skip(str(error))


def splits_of(data: TextData) -> list[Split]:
    return [data.train, data.test, *([data.validation] if data.validation else [])]


def test_the_defaults_give_a_data_set(name: str, data_set: DataSet, data_dir: Path) -> None:
    data = load(data_set, DataOptions(data_dir))
    assert isinstance(data, TextData)
    assert data.name == name
    assert data.length == 32
    assert len(data.description) > 20
    assert f"{len(data.train):,}" in data.description


def test_shapes_types_and_ranges(data_set: DataSet, data_dir: Path) -> None:
    data = load(data_set, DataOptions(data_dir, n_train=200, n_test=100))
    for split in splits_of(data):
        assert split.ids.shape == (len(split), data.length)
        assert split.labels.shape == (len(split),)
        assert split.ids.dtype == split.labels.dtype == torch.int64
        assert 0 <= int(split.ids.min()) <= int(split.ids.max()) < data.vocab_size
        assert 0 <= int(split.labels.min()) <= int(split.labels.max()) < data.n_classes
        is_padding = split.ids == PAD
        assert not is_padding.all(dim=1).any()
        # Padding stands at the end only: after a padding token there is nothing but padding.
        assert not (is_padding[:, :-1] & ~is_padding[:, 1:]).any()


def test_every_class_is_trained_and_tested(data_set: DataSet, data_dir: Path) -> None:
    data = load(data_set, DataOptions(data_dir))
    assert data.n_classes >= 2
    for split in (data.train, data.test):
        assert (split.labels.bincount(minlength=data.n_classes) > 0).all()


def test_names_of_words_and_classes_are_all_or_none(data_set: DataSet, data_dir: Path) -> None:
    data = load(data_set, DataOptions(data_dir, n_train=200, n_test=100))
    assert len(data.vocabulary) in {0, data.vocab_size}
    assert len(set(data.vocabulary)) == len(data.vocabulary)
    assert len(data.class_names) in {0, data.n_classes}


def test_sizes_are_those_that_were_asked_for(data_set: DataSet, data_dir: Path) -> None:
    data = load(data_set, DataOptions(data_dir, length=20, n_train=30, n_test=12))
    assert (len(data.train), len(data.test), data.length) == (30, 12, 20)


def test_the_same_seed_gives_the_same_data(data_set: DataSet, data_dir: Path) -> None:
    options = DataOptions(data_dir, seed=3, n_train=50, n_test=20)
    first = load(data_set, options)
    second = load(data_set, options)
    for split, again in zip(splits_of(first), splits_of(second), strict=True):
        assert torch.equal(split.ids, again.ids)
        assert torch.equal(split.labels, again.labels)
    assert first.vocabulary == second.vocabulary
    assert first.provenance == second.provenance


def test_another_seed_gives_other_sentences(data_set: DataSet, data_dir: Path) -> None:
    data = [load(data_set, DataOptions(data_dir, seed, n_train=50, n_test=20)) for seed in (3, 4)]
    sentences = [(each.train.ids.tolist(), each.vocabulary) for each in data]
    assert sentences[0] != sentences[1]


def test_global_random_numbers_are_left_alone(data_set: DataSet, data_dir: Path) -> None:
    before = torch.random.get_rng_state()
    load(data_set, DataOptions(data_dir, n_train=50, n_test=20))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_provenance_is_json_that_names_the_source_and_no_folder(
    data_set: DataSet, data_dir: Path
) -> None:
    data = load(data_set, DataOptions(data_dir, seed=7, n_train=50, n_test=20))
    text = json.dumps(data.provenance, allow_nan=False)
    assert '"seed": 7' in text
    assert str(data_dir) not in text
    assert str(Path.home()) not in text


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_missing_files_are_an_error_that_says_what_to_do(
    data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.delenv("HYBRIDQ_DATA", raising=False)
    options = DataOptions(tmp_path / folder, n_train=50, n_test=20)
    try:
        data = data_set(options)
    except DataNotFound as error:
        message = str(error)
    except MissingExtra as error:
        pytest.skip(str(error))
    else:
        assert isinstance(data, TextData)  # This data set needs no files of the directory.
        return
    assert str(options.data_dir) in message
    assert "HYBRIDQ_DATA" in message


@pytest.mark.parametrize("n_train", [0, -1, True])
def test_impossible_sizes_are_refused(data_set: DataSet, data_dir: Path, n_train: int) -> None:
    with pytest.raises(InvalidArgument, match=f"n_train={n_train}"):
        data_set(DataOptions(data_dir, n_train=n_train))
