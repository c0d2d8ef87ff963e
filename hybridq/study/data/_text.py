"""What every text data set is: token ids, labels, and where they come from."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.seeding import derive, generator
from hybridq.study.data._tokenizer import PAD, WordTokenizer

__all__ = [
    "VARIABLE",
    "DataOptions",
    "Example",
    "Split",
    "TextData",
    "check_size",
    "from_texts",
    "source_of",
    "subset",
]

VARIABLE = "HYBRIDQ_DATA"  # the environment variable that names the data directory

Example = tuple[str, int]  # a sentence and its class


@dataclass(frozen=True)
class DataOptions:
    """What every data set is asked for.

    Args:
        data_dir: The folder that holds the files of data sets; None takes HYBRIDQ_DATA. A data set
            that is not made of such files does not look at it.
        seed: The source of all randomness: it generates, splits or draws, as the data set says.
        length: Number of tokens of a row.
        n_train: Number of training sentences at most; None for all.
        n_test: Number of test sentences at most; None for all.

    Raises:
        InvalidArgument: If the seed is no non-negative integer, or a size is not positive.
    """

    data_dir: str | Path | None = None
    seed: int = 0
    length: int = 32
    n_train: int | None = None
    n_test: int | None = None

    def __post_init__(self) -> None:
        derive(self.seed)  # It refuses what is no seed.
        check_size("length", self.length)
        check_size("n_train", self.n_train)
        check_size("n_test", self.n_test)

    @property
    def folder(self) -> Path | None:
        """The data directory: `data_dir`, or else HYBRIDQ_DATA; None if neither is set."""
        folder = self.data_dir or os.environ.get(VARIABLE)
        return Path(folder) if folder else None


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Args:
        ids: Token ids, an int64 tensor (N, length); 0 is padding and stands only at the end of a
            row.
        labels: Class numbers, an int64 tensor (N,).

    Raises:
        InvalidArgument: If the shapes or the types do not fit, or a row holds nothing but padding.
    """

    ids: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.ids.dim() != 2 or self.ids.dtype != torch.int64:
            raise InvalidArgument.of(
                "ids", (tuple(self.ids.shape), self.ids.dtype), "give an int64 tensor (N, length)"
            )
        if self.labels.shape != self.ids.shape[:1] or self.labels.dtype != torch.int64:
            raise InvalidArgument.of(
                "labels",
                (tuple(self.labels.shape), self.labels.dtype),
                f"give an int64 tensor ({len(self.ids)},)",
            )
        empty = (self.ids == PAD).all(dim=1)
        if bool(empty.any()):
            fault = f"holds no token in row {int(empty.nonzero()[0])}"
            raise InvalidArgument.that("ids", fault, "a sentence needs at least one token")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class TextData:
    """A data set of labelled sentences.

    Args:
        name: A short name for tables and folders, usually that of the file.
        train: The part that a model is fitted to.
        test: The part that results are reported on.
        vocab_size: Number of token ids, padding and unknown included.
        n_classes: Number of classes.
        description: One sentence for people: what the data are and how many.
        provenance: JSON values: the source files with their SHA-256, the seed, every option.
        validation: The part to choose settings on, where the data set has one.
        vocabulary: The word of each token id, where there are words.
        class_names: The name of each class, where classes have names.

    Raises:
        InvalidArgument: If an id or a label lies outside the stated range.
    """

    name: str
    train: Split
    test: Split
    vocab_size: int
    n_classes: int
    description: str
    provenance: dict[str, Any] = field(default_factory=dict)
    validation: Split | None = None
    vocabulary: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = {"train": self.train, "test": self.test, "validation": self.validation}
        for part, split in parts.items():
            if split is None:
                continue
            if len(split) == 0:
                raise InvalidArgument.that(part, "holds no sentence", "a part needs at least one")
            if split.ids.shape[1] != self.length:
                raise InvalidArgument.of(
                    part, tuple(split.ids.shape), f"all parts have length {self.length}"
                )
            _check_range(part, "id", split.ids, self.vocab_size)
            _check_range(part, "label", split.labels, self.n_classes)

    @property
    def length(self) -> int:
        """Number of tokens of a row, padding included."""
        return self.train.ids.shape[1]


def _check_range(part: str, kind: str, numbers: Tensor, limit: int) -> None:
    low = int(numbers.min())
    high = int(numbers.max())
    if low < 0 or high >= limit:
        raise InvalidArgument.of(part, (low, high), f"every {kind} must lie in 0..{limit - 1}")


def check_size(argument: str, value: int | None, least: int = 1) -> None:
    """Raise InvalidArgument unless `value` is None or an integer of at least `least`."""
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or value < least
    ):
        raise InvalidArgument.of(argument, value, f"give an integer of at least {least}")


def source_of(path: Path, **extra: Any) -> dict[str, Any]:
    """Describe a source file by its name, its size in bytes and its SHA-256.

    Folders are left out, because they are private.

    Args:
        path: The file.
        **extra: Further JSON values about the file.

    Returns:
        The description.
    """
    content = path.read_bytes()
    return {
        "file": path.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **extra,
    }


def subset(examples: Sequence[Example], size: int | None, seed: int, part: str) -> list[Example]:
    """Draw examples without replacement.

    A smaller subset is the beginning of a larger one of the same seed.

    Args:
        examples: All examples of a part.
        size: Number of examples to draw. If it is None or too large, all of them are returned, in
            their order.
        seed: The source of the randomness.
        part: The name of the part, so that two parts draw independently.

    Returns:
        The examples that were drawn.
    """
    if size is None or size >= len(examples):
        return list(examples)
    order = torch.randperm(len(examples), generator=generator(seed, "subset", part))
    return [examples[i] for i in order[:size].tolist()]


def from_texts(
    parts: dict[str, list[Example]], vocab_size: int, length: int
) -> tuple[WordTokenizer, dict[str, Split]]:
    """Fit a vocabulary to the part "train" and encode every part with it."""
    tokenizer = WordTokenizer.fit((text for text, _ in parts["train"]), vocab_size)
    splits = {}
    for part, examples in parts.items():
        ids = tokenizer.encode([text for text, _ in examples], length)
        labels = torch.tensor([label for _, label in examples])
        splits[part] = Split(ids, labels)
    return tokenizer, splits
