import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridq.errors import InvalidArgument
from hybridq.study.data import KeywordSpec, Split, TextData, keyword_task

SMALL = KeywordSpec(n_train=200, n_test=80)


def keyword_counts(data: TextData, split: Split) -> torch.Tensor:
    """How many keywords of each class a sentence has, from the names of its words."""
    owner = torch.tensor([int(word[1]) if word.startswith("c") else -1 for word in data.vocabulary])
    return torch.stack([(owner[split.ids] == c).sum(dim=1) for c in range(data.n_classes)], dim=1)


def test_the_sizes_of_the_paper() -> None:
    data = keyword_task()
    assert (data.vocab_size, data.length, data.n_classes) == (500, 32, 4)
    assert (len(data.train), len(data.test)) == (4000, 1000)
    assert len(set(data.vocabulary)) == 500
    assert data.train.labels.bincount().tolist() == [1000] * 4


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(0, 5), st.integers(2, 5))
def test_the_label_owns_most_of_the_keywords(
    seed: int, n_own: int, n_other: int, n_classes: int
) -> None:
    if n_other >= n_own:
        n_other = n_own - 1
    spec = KeywordSpec(60, 16, 12, n_classes, 8, n_own, n_other, n_train=40, n_test=10)
    data = keyword_task(seed, spec)
    for split in (data.train, data.test):
        counts = keyword_counts(data, split)
        assert (counts.gather(1, split.labels[:, None]) == n_own).all()
        assert (counts.sum(dim=1) == n_own + n_other).all()
        assert (counts.argmax(dim=1) == split.labels).all()
        lengths = (split.ids != 0).sum(dim=1)
        assert ((lengths >= 12) & (lengths <= 16)).all()
        assert (
            (split.ids != 0) == (torch.arange(16) < lengths[:, None])
        ).all()  # padding stands at the end
        assert not (split.ids == 1).any()


def test_the_keywords_stand_anywhere_in_the_sentence() -> None:
    data = keyword_task(0, SMALL)
    is_keyword = torch.tensor([word.startswith("c") for word in data.vocabulary])[data.train.ids]
    first, last = is_keyword[:, :12].double().mean(), is_keyword[:, 12:24].double().mean()
    # 200 sentences x 12 places, each a keyword with p = 8/28: 5 sigma of the difference of two such
    # shares
    assert abs(float(first - last)) < 5 * (2 * 0.286 * 0.714 / 2400) ** 0.5


def test_one_seed_one_task() -> None:
    a, b, c = (keyword_task(seed, SMALL) for seed in (3, 3, 4))
    assert torch.equal(a.train.ids, b.train.ids)
    assert torch.equal(a.test.labels, b.test.labels)
    assert a.vocabulary == b.vocabulary
    assert a.vocabulary != c.vocabulary
    assert not torch.equal(a.train.ids, c.train.ids)


def test_the_parts_are_drawn_independently() -> None:
    data = keyword_task(0, KeywordSpec(n_train=80, n_test=80))
    train, test = ({tuple(row) for row in split.ids.tolist()} for split in (data.train, data.test))
    assert not train & test


def test_the_global_random_numbers_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    keyword_task(0, SMALL)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"n_train": 0}, "n_train=0"),
        ({"n_classes": 1}, "n_classes=1"),
        ({"n_own": 3, "n_other": 3}, "n_other=3"),
        ({"min_length": 33}, "min_length=33"),
        ({"min_length": 7}, "min_length=7"),
        ({"keywords_per_class": 125}, "vocab_size=500"),
        ({"length": True}, "length=True"),
    ],
)
def test_sizes_that_do_not_fit(change: dict, argument: str) -> None:
    with pytest.raises(InvalidArgument, match=argument):
        KeywordSpec(**change)


def test_a_bad_seed() -> None:
    with pytest.raises(InvalidArgument, match="seed=-1"):
        keyword_task(-1)
