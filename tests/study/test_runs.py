import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hybridq.errors import CheckpointMismatch, DataCorrupted, DataNotFound, InvalidArgument
from hybridq.study import environment as machine
from hybridq.study.environment import command_line, environment, without_home
from hybridq.study.runs import Run, find_runs, load_checkpoint, save_checkpoint

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@dataclass
class Config:
    lr: float
    levels: tuple[float, ...]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "runs", "adam-seed0", {"lr": 1e-3})


# A run is written to the disk, whose speed is not tested here.
@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, values: dict) -> None:
    run = Run.create(tmp_path_factory.mktemp("runs"), "x", values)
    run.log(values=values)
    run.finish(values)
    again = Run.load(run.path)
    assert again.config == values
    assert again.metrics() == [{"values": values}]
    assert again.result == values


def test_the_folder(run: Run) -> None:
    assert run.path.name == run.name == "adam-seed0"
    assert sorted(p.name for p in run.path.iterdir()) == [
        "config.json",
        "environment.json",
        "metrics.jsonl",
    ]
    assert run.result is None
    run.finish({})
    run.save_checkpoint(nn.Linear(2, 1))
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "result.json",
    ]


def test_dataclasses_numpy_and_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "x", Config(0.1, (0.5, 0.9)))
    run.log(a=np.float64(0.5), b=torch.tensor([1, 2]), c=math.nan, d=-math.inf, e=np.arange(2))
    assert run.config == {"lr": 0.1, "levels": [0.5, 0.9]}
    assert run.metrics() == [{"a": 0.5, "b": [1, 2], "c": "nan", "d": "-inf", "e": [0, 1]}]


def test_a_run_names_its_loader(tmp_path: Path) -> None:
    assert Run.create(tmp_path, "none", {"lr": 1}).loader is None
    named = Run.create(tmp_path, "named", {"lr": 1}, loader="a.b:c")
    assert named.config == {"lr": 1, "loader": "a.b:c"}
    assert Run.create(tmp_path, "in-config", {"loader": "a.b:c"}).loader == "a.b:c"
    for wrong in ("a.b", ":c", "a:"):
        with pytest.raises(InvalidArgument, match="loader="):
            Run.create(tmp_path, "wrong", {}, loader=wrong)
    with pytest.raises(InvalidArgument, match=r"config names the loader 'd:e'"):
        Run.create(tmp_path, "two", {"loader": "d:e"}, loader="a:b")
    with pytest.raises(InvalidArgument, match="config="):
        Run.create(tmp_path, "list", [1], loader="a:b")
    assert sorted(run.name for run in find_runs(tmp_path)) == ["in-config", "named", "none"]


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "x\n"])
def test_a_name_that_is_no_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="name="):
        Run.create(tmp_path / "runs", name, {})
    assert not (tmp_path / "runs").exists()


def test_a_run_is_never_overwritten(run: Run) -> None:
    with pytest.raises(InvalidArgument, match="exists"):
        Run.create(run.path.parent, run.name, {"lr": 2})
    assert run.config == {"lr": 1e-3}


@pytest.mark.parametrize("config", [[1, 2], {"a": object()}, 3])
def test_a_configuration_that_is_no_json_leaves_no_folder(tmp_path: Path, config: object) -> None:
    with pytest.raises(InvalidArgument, match="config="):
        Run.create(tmp_path, "x", config)
    assert not (tmp_path / "x").exists()


def test_loading_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match=r"no config\.json"):
        Run.load(tmp_path)


def test_a_truncated_last_line_is_named(run: Run) -> None:
    run.log(epoch=1)
    run.log(epoch=2)
    path = run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataCorrupted, match=r"metrics\.jsonl.*line 2.*incomplete"):
        run.metrics()


@pytest.mark.parametrize("line", ["{broken", "3", "[1]", ""])
def test_a_malformed_line_is_named(run: Run, line: str) -> None:
    run.log(epoch=1)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    run.log(epoch=2)
    with pytest.raises(DataCorrupted, match="line 2: no JSON object"):
        run.metrics()


def test_a_malformed_file_is_named(run: Run) -> None:
    (run.path / "result.json").write_text('{"test_accuracy": 0.9')
    with pytest.raises(DataCorrupted, match=r"result\.json"):
        _ = run.result
    (run.path / "environment.json").unlink()
    with pytest.raises(DataNotFound, match=r"environment\.json"):
        _ = run.environment


def test_a_crash_while_writing_leaves_the_old_file(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.finish({"version": 1})
    run.save_checkpoint(nn.Linear(2, 1))
    before = run.checkpoint.read_bytes()

    def crash(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        run.finish({"version": 2})
    with pytest.raises(OSError, match="power cut"):
        run.save_checkpoint(nn.Linear(2, 1))
    assert run.result == {"version": 1}
    assert run.checkpoint.read_bytes() == before


def test_find_runs(tmp_path: Path) -> None:
    for folder, name in (("b", "two"), ("a", "one"), ("a/deep", "three")):
        Run.create(tmp_path / folder, name, {})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text("{}")  # another program's
    assert [run.name for run in find_runs(tmp_path)] == ["three", "one", "two"]
    with pytest.raises(DataNotFound):
        find_runs(tmp_path / "nowhere")


def test_the_environment_says_what_a_reader_needs(run: Run) -> None:
    found = run.environment
    assert found["versions"]["torch"] == torch.__version__
    assert {"numpy", "scipy", "pennylane"} <= set(found["versions"])
    assert found["threads"] == torch.get_num_threads()
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert found["started"].endswith("+00:00")


def test_the_environment_has_nothing_private(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IBM_TOKEN", "s3cr3t-in-the-environment")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(
        sys, "orig_argv", ["python", "run.py", "--api-key", "s3cr3t-key", f"--data={tmp_path}/data"]
    )
    text = json.dumps(environment())
    assert "s3cr3t" not in text
    assert str(tmp_path) not in text
    assert "--data=~/data" in text
    assert os.uname().nodename not in text.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["/x/bin/python3.11", "-m", "experiments.demo", "--seeds", "3"],
            "python -m experiments.demo --seeds 3",
        ),
        (["py", "-c", "print(1)"], "python -c 'print(1)'"),
        (
            ["py", "a.py", "--hub-token", "abc", "--seeds", "3"],
            "python a.py --hub-token *** --seeds 3",
        ),
        (["py", "a.py", "--password=abc"], "python a.py --password=***"),
        (["py", "a.py", "--use-token", "--seeds", "3"], "python a.py --use-token --seeds 3"),
        (["py", f"{Path.cwd()}/a.py", "--data", f"{Path.cwd()}/data"], "python a.py --data data"),
        (["py", "a.py", "--monkey", "banana"], "python a.py --monkey banana"),
    ],
)
def test_command_line(words: list[str], expected: str) -> None:
    assert command_line(words) == expected


def test_home_is_only_a_whole_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    assert without_home("/home/ann/x /home/anna/y /home/ann") == "~/x /home/anna/y ~"


def test_paths_in_a_configuration_have_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_path = tmp_path / "runs"
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    assert Run.create(run_path, "x", {"data": Path("/home/ann/data")}).config == {"data": "~/data"}


def test_the_commit_is_that_of_our_own_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = machine.shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")

    def call(*words: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        return subprocess.run(
            [git, *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    inner = tmp_path / "site-packages"
    inner.mkdir()
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    assert machine._git() is None
    call("init")
    call("commit", "--allow-empty", "-m", "x")
    assert machine._git() == {"commit": call("rev-parse", "HEAD").strip(), "dirty": False}
    (tmp_path / "new").write_text("")
    assert machine._git() == {"commit": call("rev-parse", "HEAD").strip(), "dirty": True}
    monkeypatch.setattr(machine, "_ROOT", inner)  # installed inside somebody else's checkout
    assert machine._git() is None


class Small(nn.Module):
    def __init__(self, width: int = 3, extra: bool = False) -> None:
        super().__init__()
        self.body = nn.Linear(2, width)
        if extra:
            self.head = nn.Linear(width, 1)


def test_checkpoints_load_with_weights_only(tmp_path: Path) -> None:
    model, again = Small(), Small()
    save_checkpoint(model, tmp_path / "a.pt")
    load_checkpoint(again, tmp_path / "a.pt")
    assert torch.equal(model.body.weight, again.body.weight)
    assert set(torch.load(tmp_path / "a.pt", weights_only=True)) == {"body.weight", "body.bias"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (
            Small(4),
            [
                "body.weight is (3, 2) in the file and (4, 2) in the model",
                "body.bias is (3,) in the file and (4,) in the model",
            ],
        ),
        (Small(3, extra=True), ["missing in the file: head.weight, head.bias"]),
        (nn.Sequential(), ["not in the model: body.weight, body.bias"]),
    ],
)
def test_a_checkpoint_of_another_shape(tmp_path: Path, other: nn.Module, parts: list[str]) -> None:
    save_checkpoint(Small(), tmp_path / "a.pt")
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CheckpointMismatch) as error:
        load_checkpoint(other, tmp_path / "a.pt")
    assert all(part in str(error.value) for part in [*parts, type(other).__name__, "config.json"])
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_a_long_list_of_names_is_cut(tmp_path: Path) -> None:
    save_checkpoint(nn.Sequential(*(nn.Linear(1, 1) for _ in range(20))), tmp_path / "a.pt")
    with pytest.raises(CheckpointMismatch, match="and 32 more"):
        load_checkpoint(nn.Sequential(), tmp_path / "a.pt")


class Evil:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("should_not_exist",))


def test_a_file_that_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Small(), tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    torch.save(torch.ones(2), tmp_path / "tensor.pt")
    torch.save(Evil(), tmp_path / "evil.pt")
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("tensor", "evil", "cut", "pickle", "empty"):
        with pytest.raises(DataCorrupted, match=f"{name}.pt"):
            load_checkpoint(Small(), tmp_path / f"{name}.pt")
    assert not (tmp_path / "should_not_exist").exists()
    with pytest.raises(DataNotFound, match=r"none\.pt"):
        load_checkpoint(Small(), tmp_path / "none.pt")
