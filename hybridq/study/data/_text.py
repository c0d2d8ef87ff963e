"""What every text data set is: token ids, labels, and where they come from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.seeding import generator
from hybridq.study.data._tokenizer import PAD, WordTokenizer

__all__ = ["Example", "Split", "TextData", "check_size", "from_texts", "source_of", "subset"]

Example = tuple[str, int]


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
        name: The name that `load` knows it by.
        train: What a model is fitted to.
        test: What results are reported on.
        vocab_size: Number of token ids, padding and unknown included.
        n_classes: Number of classes.
        description: One sentence for people: what it is and how large.
        provenance: JSON values: the source files with their SHA-256, the seed, every option.
        validation: What to choose settings on, where the data set has such a part.
        vocabulary: The word of each token id, where there are words.
        class_names: The name of each class, where they have names.

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
            for what, tensor, limit in (
                ("id", split.ids, self.vocab_size),
                ("label", split.labels, self.n_classes),
            ):
                low, high = int(tensor.min()), int(tensor.max())
                if low < 0 or high >= limit:
                    raise InvalidArgument.of(
                        part, (low, high), f"every {what} must lie in 0..{limit - 1}"
                    )

    @property
    def length(self) -> int:
        """Number of tokens of a row, padding included."""
        return self.train.ids.shape[1]


def check_size(argument: str, value: int | None, least: int = 1) -> None:
    """Raise InvalidArgument unless `value` is None or an integer of at least `least`."""
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or value < least
    ):
        raise InvalidArgument.of(argument, value, f"give an integer of at least {least}")


def source_of(path: Path, **extra: Any) -> dict[str, Any]:
    """Describe a source file: its name (no folders, they are private), its size in bytes and its SHA-256."""
    content = path.read_bytes()
    return {
        "file": path.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **extra,
    }


def subset(examples: Sequence[Example], size: int | None, seed: int, part: str) -> list[Example]:
    """Draw `size` examples without replacement; all of them in their order if `size` is None or too large.

    A smaller subset is a part of a larger one of the same seed.
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
    splits = {
        part: Split(
            tokenizer.encode([text for text, _ in examples], length),
            torch.tensor([y for _, y in examples]),
        )
        for part, examples in parts.items()
    }
    return tokenizer, splits
