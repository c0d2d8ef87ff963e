from collections.abc import Callable
from pathlib import Path

import pytest

from tests.study.data._sst2_files import write_sst2


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with SST-2 files of the right line counts."""
    write_sst2(tmp_path)
    return tmp_path


@pytest.fixture
def edit(data_dir: Path) -> Callable[[str, Callable[[bytes], bytes]], Path]:
    """Change one file of the data directory."""

    def change(part: str, function: Callable[[bytes], bytes]) -> Path:
        path = data_dir / "sst2" / f"stsa.binary.{part}"
        path.write_bytes(function(path.read_bytes()))
        return path

    return change
