import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from hybridq.errors import DataCorrupted, DataNotFound, InvalidArgument
from hybridq.study.data import DataOptions, TextData, load_sst2
from tests.study.data._sst2_files import SENTENCES, sentence


def sst2(data_dir: Path | None = None, vocab_size: int = 5000, **options: int) -> TextData:
    return load_sst2(DataOptions(data_dir, **options), vocab_size=vocab_size)


Edit = Callable[[str, Callable[[bytes], bytes]], Path]


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYBRIDQ_DATA", raising=False)


def test_a_data_directory(data_dir: Path) -> None:
    data = sst2(data_dir)
    assert (len(data.train), len(data.validation), len(data.test)) == (6920, 872, 1821)
    assert data.train.labels[:4].tolist() == [0, 1, 0, 1]
    assert [data.vocabulary[i] for i in data.train.ids[1] if i] == [
        "train",
        "sentence",
        "1",
        "is",
        "good",
    ]
    path = data_dir / "sst2" / "stsa.binary.test"
    expected = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert data.provenance["files"]["test"] == expected | {"sentences": 1821}
    assert str(data_dir) not in json.dumps(data.provenance)


def test_the_variable(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDQ_DATA", str(data_dir))
    assert len(sst2().train) == 6920


def test_words_of_the_other_parts_are_unknown(data_dir: Path) -> None:
    data = sst2(data_dir, vocab_size=20000)
    assert "dev" not in data.vocabulary
    assert (data.validation.ids[:, 0] == 1).all()


def test_subsets_are_drawn_by_the_seed_and_nest(data_dir: Path) -> None:
    small, large, other = (
        sst2(data_dir, n_train=50, n_test=20),
        sst2(data_dir, n_train=80),
        sst2(data_dir, n_train=50, seed=1),
    )
    assert (len(small.train), len(small.test), len(small.validation)) == (50, 20, 872)
    texts = [
        [{d.vocabulary[i] for i in row if i > 1} for row in d.train.ids.tolist()]
        for d in (small, large, other)
    ]
    assert texts[0] == texts[1][:50]
    assert texts[0] != texts[2]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match=r"nowhere.*HYBRIDQ_DATA.*download"):
        sst2(tmp_path / "nowhere")


@pytest.mark.parametrize("part", SENTENCES)
def test_a_directory_without_a_file(data_dir: Path, part: str) -> None:
    (data_dir / "sst2" / f"stsa.binary.{part}").unlink()
    with pytest.raises(
        DataNotFound, match=rf"stsa\.binary\.{part}.*HYBRIDQ_DATA.*huggingface|HYBRIDQ_DATA"
    ) as error:
        sst2(data_dir)
    assert f"stsa.binary.{part}" in str(error.value)


def test_a_broken_directory_is_never_replaced_by_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("it went to the hub")
    )
    monkeypatch.setenv("HYBRIDQ_DATA", str(tmp_path))
    with pytest.raises(DataNotFound):
        sst2()


def cut_in_a_line(content: bytes) -> bytes:
    return content[: content.index(b"\n", 4000) - 5]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (cut_in_a_line, r"line \d+: the line has no end"),
        (lambda c: c[: c.rindex(b"\n", 0, -1) + 1], "has 1820 lines where SST-2 has 1821"),
        (lambda c: c + b"1 one more\n", "has 1822 lines where SST-2 has 1821"),
        (
            lambda c: c.replace(b"\n1 test sentence 7 ", b"\n2 test sentence 7 "),
            "line 8: begins with '2'",
        ),
        (
            lambda c: c.replace(b"\n1 test sentence 7 ", b"\ntest sentence 7 "),
            "line 8: begins with 'test'",
        ),
        (lambda c: c.replace(b"test sentence 7 is good", b""), "line 8: has no text"),
        (lambda c: c.replace(b"sentence 7 ", b"\xff\xfe 7 "), "line 8: 'utf-8'"),
        (lambda _: b"", "has 0 lines"),
    ],
)
def test_a_damaged_file(
    data_dir: Path, edit: Edit, function: Callable[[bytes], bytes], message: str
) -> None:
    path = edit("test", function)
    with pytest.raises(DataCorrupted, match=message) as error:
        sst2(data_dir)
    assert path.name in str(error.value)


def test_bad_sizes(data_dir: Path) -> None:
    with pytest.raises(InvalidArgument, match="n_train=0"):
        sst2(data_dir, n_train=0)


def fake_hub(folder: Path, rows: Callable[[str, int], dict], end: str) -> Callable[..., str]:
    def download(repo: str, file: str, repo_type: str) -> str:
        assert (repo, repo_type) == ("SetFit/sst2", "dataset")
        part = file.removesuffix(".jsonl")
        path = folder / file
        path.write_text(
            "\n".join(json.dumps(rows(part, i)) for i in range(SENTENCES[part])) + end,
            encoding="utf-8",
        )
        return str(path)

    return download


def row(part: str, number: int) -> dict:
    text, label = sentence(part, number)
    return {"text": text, "label": label, "label_text": ("negative", "positive")[label]}


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_hub_has_the_same_sentences(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake_hub(tmp_path, row, end))
    hub, local = sst2(), sst2(data_dir)
    assert hub.train.ids.equal(local.train.ids)
    assert hub.test.labels.equal(local.test.labels)
    assert hub.provenance["from"] == "huggingface.co/datasets/SetFit/sst2"


def test_the_hub_with_another_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", fake_hub(tmp_path, lambda *_: {"label": 1}, "\n")
    )
    with pytest.raises(DataCorrupted, match=r"train\.jsonl.*line 1: 'text'"):
        sst2()


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: str, **__: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(DataNotFound, match=r"no connection.*HYBRIDQ_DATA"):
        sst2()


REAL = os.environ.get("HYBRIDQ_DATA")


@pytest.mark.skipif(not REAL, reason="HYBRIDQ_DATA is not set")
def test_the_real_sentences() -> None:
    data = sst2(REAL)
    assert data.train.labels.bincount().tolist() == [3310, 3610]
    assert data.test.labels.bincount().tolist() == [912, 909]
    assert [data.vocabulary[i] for i in data.test.ids[0] if i][:4] == [
        "no",
        "movement",
        "no",
        "<unk>",
    ]
    assert float((data.test.ids == 1).sum() / (data.test.ids > 0).sum()) < 0.15
