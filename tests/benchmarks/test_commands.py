"""The commands `python -m benchmarks.NAME`: they measure when asked to, and write when asked to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks
from benchmarks._measure import show

HOUSE = Path(benchmarks.__file__).parents[1]
RESULTS = HOUSE / "benchmarks" / "results"
ROWS = [("a step", "1.00 ms", "2.00 ms", "0.50x", "<= 1x")]


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RESULTS.iterdir()}


@pytest.mark.parametrize("name", ["attention", "engine", "optimizers"])
def test_help_shows_help_and_measures_nothing(name: str) -> None:
    before = contents()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=HOUSE,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "--output" in done.stdout
    assert "one thread" in done.stdout
    assert contents() == before


def test_numbers_are_written_only_when_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    show("engine", "Engine", ROWS, {"seconds": 1e-3})
    assert not list(tmp_path.iterdir())
    assert "0.50x" in capsys.readouterr().out
    show("engine", "Engine", ROWS, {"seconds": 1e-3}, tmp_path / "new" / "engine.json")
    written = json.loads((tmp_path / "new" / "engine.json").read_text())
    assert (written["title"], written["seconds"]) == ("Engine", 1e-3)
    assert "torch" in written["environment"]["versions"]
