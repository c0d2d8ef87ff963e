"""The recipes of docs/extending.md: each passes its contract in a copy of the repository.

A recipe is a fenced block whose info string says where its text goes, for example `python
file=circuits/my_ansatz.py`. A block that is empty is a recipe that has yet to be written. Several
blocks may make one recipe, such as the files of an experiment's folder.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path, PurePosixPath

import pytest

from tests.docs._pages import ROOT, Fence, Page

PAGE = Page(ROOT / "docs" / "extending.md")
ROW = re.compile(r"^\| \[([\w ]+)\]\(#[\w-]+\) \| `([\w/]+)/` \| `([\w/.]+)` \|$", re.MULTILINE)
FILE = re.compile(r"^python file=(\S+)$")
COPIED = ("circuits", "experiments", "hybridq", "tests", "pyproject.toml", "README.md")
PASSED = re.compile(r"\b(\d+) passed\b")

# The folder of a kind, and the contract that runs every file in it.
CONTRACTS = {PurePosixPath(folder): contract for _, folder, contract in ROW.findall(PAGE.text)}


def place_of(fence: Fence) -> PurePosixPath | None:
    """Return where the block is to be written; None if it is no recipe."""
    found = FILE.match(fence.info)
    return PurePosixPath(found[1]) if found else None


def room_and_name(place: PurePosixPath) -> tuple[PurePosixPath, str]:
    """Return the folder of the kind, and the name of the file or folder in it."""
    room = next(folder for folder in place.parents if folder in CONTRACTS)
    return room, place.relative_to(room).parts[0].removesuffix(".py")


def recipes() -> dict[tuple[PurePosixPath, str], list[Fence]]:
    """Collect the blocks of each recipe that is written."""
    collected = defaultdict(list)
    for fence in PAGE.fences():
        place = place_of(fence)
        if place is not None and fence.text.strip():
            collected[room_and_name(place)].append(fence)
    return dict(collected)


def as_parameters() -> list[object]:
    """Make a test of each recipe, or one that says why there is none."""
    if not recipes():
        reason = "docs/extending.md has no recipes yet"
        return [pytest.param((), "", id="none", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(room, name, id=name) for room, name in recipes()]


def copy_of_the_repository(target: Path) -> Path:
    """Copy what contracts need, with built kernels; the link `hybridq/circuits` stays a link."""
    ignore = shutil.ignore_patterns("__pycache__", "results", "*.egg-info")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(source, target / name)
    return target


def run_contract(repository: Path, contract: str, name: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a contract that have the name in their own, in a process of their own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", contract, "-k", name, "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        command,
        cwd=repository,
        env=kept | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )


def check_recipe(repository: Path, contract: str, name: str, fences: list[Fence]) -> None:
    """Write the blocks of a recipe into the copy, and run its contract on it."""
    assert (repository / contract).is_file(), f"docs/extending.md names {contract}"
    for fence in fences:
        target = repository / str(place_of(fence))
        assert not target.exists(), f"{target} is there already"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(fence.text, encoding="utf-8")
    done = run_contract(repository, contract, name)
    passed = PASSED.search(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert passed, f"no test of {contract} has run it:\n{done.stdout}"


def test_the_table_has_every_kind() -> None:
    kinds = [kind for kind, _, _ in ROW.findall(PAGE.text)]
    rows = [line for line in PAGE.text.splitlines() if line.startswith("| [")]
    assert len(kinds) == len(rows) == 9


def test_every_recipe_has_a_room() -> None:
    for fence in PAGE.fences():
        place = place_of(fence)
        assert place is not None or "file=" not in fence.info, f"line {fence.line}: {fence.info}"
        if place is not None:
            assert set(place.parents) & set(CONTRACTS), f"{place} is in no folder of the table"
            assert not (ROOT / place).exists(), f"{place} is in the repository"


@pytest.mark.slow
@pytest.mark.parametrize(("room", "name"), as_parameters())
def test_a_recipe_passes_its_contract(room: PurePosixPath, name: str, tmp_path: Path) -> None:
    repository = copy_of_the_repository(tmp_path)
    check_recipe(repository, CONTRACTS[room], name, recipes()[room, name])


@pytest.mark.slow
def test_a_recipe_that_breaks_its_contract_is_seen(tmp_path: Path) -> None:
    repository = copy_of_the_repository(tmp_path)
    lines = (ROOT / "circuits" / "ry_rz_cnot.py").read_text(encoding="utf-8")
    info, contract = "python file=circuits/copied_ansatz.py", CONTRACTS[PurePosixPath("circuits")]
    check_recipe(repository, contract, "copied_ansatz", [Fence(info, lines, 1)])
    (repository / "circuits" / "copied_ansatz.py").unlink()
    broken = lines.replace("theta + factor * inputs[..., 0]", "theta")  # an input without effect
    with pytest.raises(AssertionError, match="an input changes nothing"):
        check_recipe(repository, contract, "copied_ansatz", [Fence(info, broken, 1)])
    with pytest.raises(AssertionError):
        check_recipe(repository, contract, "no_such_ansatz", [])
