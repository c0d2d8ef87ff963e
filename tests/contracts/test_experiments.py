"""One suite for every folder of experiments/: what holds for any command there.

`experiments/__init__.py` states the rules. A new experiment is a new folder, and is found here.
"""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import experiments

HOUSE = Path(experiments.__file__).parents[1]
NO_EXPERIMENTS = {"shared"}  # This folder holds what several experiments use.
NAMES = sorted(
    folder.name
    for folder in Path(experiments.__file__).parent.iterdir()
    if folder.is_dir() and folder.name not in NO_EXPERIMENTS and folder.name[0] not in "_."
)
CPU_SECONDS = 120  # In its smallest size an experiment takes some seconds; here is room to spare.
WALL_SECONDS = 900  # A busy machine has other things to do.


def command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A wide terminal, so that the help text is not broken in the middle of a word.
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    environment.pop("HYBRIDQ_DATA", None)
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=HOUSE,
        env=environment,
        timeout=WALL_SECONDS,
    )


def cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_is_a_package_with_a_command(name: str) -> None:
    folder = HOUSE / "experiments" / name
    assert (folder / "__init__.py").is_file()
    assert (folder / "__main__.py").is_file()
    for file in folder.glob("*.py"):
        assert not re.match(r"_(?!_)", file.name), "the files of an experiment are not private"


def test_its_help_states_the_claim_or_the_question(name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\W*(Claim|Question)\b.*:.*\w", done.stdout, re.MULTILINE), done.stdout
    for option in ("--output", "--smoke"):
        assert option in done.stdout


@pytest.mark.slow
def test_its_smallest_size_writes_a_summary_and_a_page_or_figures(
    name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    before = cpu_seconds_of_children()
    done = command(name, "--smoke", "--output", str(folder))
    assert done.returncode == 0, done.stderr
    assert cpu_seconds_of_children() - before < CPU_SECONDS
    assert str(folder) in done.stdout
    summary = json.loads((folder / "summary.json").read_text())
    assert f"experiments.{name} --smoke" in summary["environment"]["command"]
    assert len(summary) > 1
    pictures = list(folder.glob("*.png"))
    assert pictures or (folder / "report.html").is_file()
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
    if (folder / "report.html").is_file():
        assert "</html>" in (folder / "report.html").read_text()


def test_a_folder_that_exists_is_refused(name: str, tmp_path: Path) -> None:
    done = command(name, "--smoke", "--output", str(tmp_path))
    assert done.returncode == 2
    assert "name a new folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_option_is_refused(name: str) -> None:
    done = command(name, "--no-such-option")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
