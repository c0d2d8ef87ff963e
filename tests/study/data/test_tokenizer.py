import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hybridq.errors import InvalidArgument
from hybridq.study.data import PAD, UNKNOWN, Split, TextData, WordTokenizer
from hybridq.study.data._tokenizer import words

TEXTS = st.lists(st.text(alphabet="abc dé'!?.-\n", max_size=30), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Gangs of New York, AGAIN!", ["gangs", "of", "new", "york", "again", "!"]),
        ("they wo n't sit still", ["they", "wo", "n't", "sit", "still"]),
        ("rancid crème brûlée", ["rancid", "crème", "brûlée"]),
        ("-- ... ,", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_the_most_frequent_words_come_first_and_the_alphabet_breaks_ties() -> None:
    assert WordTokenizer.fit(["c d a b", "b c"], size=5).vocabulary == (
        "<pad>",
        "<unk>",
        "b",
        "c",
        "a",
    )


@given(TEXTS, st.integers(3, 8), st.integers(1, 6))
def test_encoding(texts: list[str], size: int, length: int) -> None:
    tokenizer = WordTokenizer.fit(texts, size)
    ids = tokenizer.encode(texts, length)
    assert len(tokenizer.vocabulary) <= size
    for row, text in zip(ids.tolist(), texts, strict=True):
        found = words(text)[:length] or ["<unk>"]
        expected = [word if word in tokenizer.vocabulary else "<unk>" for word in found]
        assert [tokenizer.vocabulary[i] for i in row] == expected + ["<pad>"] * (
            length - len(expected)
        )


def test_a_text_without_words_is_unknown_not_empty() -> None:
    assert WordTokenizer.fit(["a"], 3).encode(["..."], 3).tolist() == [[UNKNOWN, PAD, PAD]]


def test_errors() -> None:
    with pytest.raises(InvalidArgument, match="vocab_size=2"):
        WordTokenizer.fit(["a"], 2)
    with pytest.raises(InvalidArgument, match="length=0"):
        WordTokenizer.fit(["a"], 3).encode(["a"], 0)
    with pytest.raises(InvalidArgument, match="vocabulary"):
        WordTokenizer(("<unk>", "<pad>"))
    with pytest.raises(InvalidArgument, match="vocabulary"):
        WordTokenizer(("<pad>", "<unk>", "a", "a"))


def split(ids: list[list[int]], labels: list[int]) -> Split:
    return Split(torch.tensor(ids), torch.tensor(labels))


def test_a_split_refuses_what_does_not_fit() -> None:
    with pytest.raises(InvalidArgument, match="row 1"):
        split([[1, 0], [0, 0]], [0, 1])
    with pytest.raises(InvalidArgument, match="labels="):
        split([[1, 0]], [0, 1])
    with pytest.raises(InvalidArgument, match="ids="):
        Split(torch.ones(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 3}, "every id must lie in 0..2"),
        ({"n_classes": 1}, "every label must lie in 0..0"),
        ({"test": split([[1, 2, 3]], [0])}, "all parts have length 2"),
        (
            {
                "test": Split(
                    torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
                )
            },
            "at least one",
        ),
    ],
)
def test_a_data_set_refuses_what_lies_outside(change: dict, message: str) -> None:
    fields = {
        "name": "x",
        "train": split([[1, 3], [2, 0]], [0, 1]),
        "test": split([[1, 0]], [0]),
        "vocab_size": 4,
        "n_classes": 2,
        "description": "",
    }
    assert TextData(**fields).length == 2
    with pytest.raises(InvalidArgument, match=message):
        TextData(**(fields | change))
