from collections.abc import Callable
from pathlib import Path

import pytest

SENTENCES = {"train": 6920, "dev": 872, "test": 1821}


def sentence(part: str, number: int) -> tuple[str, int]:
    return f"{part} sentence {number} is {'good' if number % 2 else 'bad'}", number % 2


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with SST-2 files of the right line counts."""
    (tmp_path / "sst2").mkdir()
    for part, n in SENTENCES.items():
        lines = (f"{label} {text}\n" for text, label in (sentence(part, i) for i in range(n)))
        (tmp_path / "sst2" / f"stsa.binary.{part}").write_text("".join(lines), encoding="utf-8")
    return tmp_path


@pytest.fixture
def edit(data_dir: Path) -> Callable[[str, Callable[[bytes], bytes]], Path]:
    """Change one file of the data directory."""

    def change(part: str, function: Callable[[bytes], bytes]) -> Path:
        path = data_dir / "sst2" / f"stsa.binary.{part}"
        path.write_bytes(function(path.read_bytes()))
        return path

    return change
