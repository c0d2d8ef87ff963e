"""Words as token ids."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument

__all__ = ["PAD", "UNKNOWN", "WordTokenizer", "words"]

PAD = 0
UNKNOWN = 1
_SPECIAL = ("<pad>", "<unk>")
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[!?]")


def words(text: str) -> list[str]:
    """Split a text into lower-case words.

    An apostrophe inside a word belongs to it; "!" and "?" are words of their own.

    Example:
        >>> words("It's a re-imagining -- isn't it?")
        ["it's", 'a', 're', 'imagining', "isn't", 'it', '?']
    """
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class WordTokenizer:
    """The most frequent words of a text, numbered.

    Args:
        vocabulary: The word of each id, beginning with "<pad>" and "<unk>".

    Raises:
        InvalidArgument: If the vocabulary does not begin so, or names a word twice.

    Example:
        >>> tokenizer = WordTokenizer.fit(["a good film", "a bad film"], size=4)
        >>> tokenizer.vocabulary
        ('<pad>', '<unk>', 'a', 'film')
        >>> tokenizer.encode(["A film, a GOOD film"], length=6).tolist()
        [[2, 3, 2, 1, 3, 0]]
    """

    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.vocabulary[:2] != _SPECIAL or len(set(self.vocabulary)) != len(self.vocabulary):
            raise InvalidArgument.of(
                "vocabulary", self.vocabulary[:3], "begin with <pad>, <unk> and name each word once"
            )

    @classmethod
    def fit(cls, texts: Iterable[str], size: int) -> "WordTokenizer":
        """Take the most frequent words of `texts`.

        Among equally frequent words the alphabet decides.

        Args:
            texts: The training texts, and only those.
            size: Number of ids at most, the two special ones included.

        Returns:
            The tokenizer.

        Raises:
            InvalidArgument: If `size` leaves no room for a word.
        """
        if size <= len(_SPECIAL):
            raise InvalidArgument.of(
                "vocab_size",
                size,
                f"give at least {len(_SPECIAL) + 1}: padding, unknown and a word",
            )
        counts = Counter(word for text in texts for word in words(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls((*_SPECIAL, *ranked[: size - len(_SPECIAL)]))

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """Turn texts into ids: cut off after `length` words, padded with 0 at the end.

        A text without any word becomes a single "<unk>", because a row of padding has no attention
        to compute.

        Args:
            texts: N texts.
            length: Number of ids of a row.

        Returns:
            An int64 tensor (N, length).

        Raises:
            InvalidArgument: If `length` is not positive.
        """
        if length < 1:
            raise InvalidArgument.of("length", length, "give a positive number of tokens")
        ids = torch.zeros(len(texts), length, dtype=torch.int64)
        for row, text in enumerate(texts):
            numbers = [self._numbers.get(word, UNKNOWN) for word in words(text)[:length]]
            numbers = numbers or [UNKNOWN]
            ids[row, : len(numbers)] = torch.tensor(numbers)
        return ids

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary)}
