"""The text classification experiment in its smallest size, and a checkpoint on other backends."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.evaluate import main
from experiments.shared.classifier import make_classifier
from experiments.shared.optimizers import OPTIMIZERS
from experiments.text_classification.jobs import ATTENTIONS, Job, list_jobs, run_job
from experiments.text_classification.loading import load_run
from experiments.text_classification.report import text_report
from experiments.text_classification.step_times import write_step_times
from hybridq.errors import CheckpointMismatch, DataNotFound, InvalidArgument, UnknownName
from hybridq.study.report import write_report

JOB = Job("synthetic", "quantum", "adam", 0, epochs=1, train_size=96, test_size=64, level=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two optimizers, two seeds, one epoch, and plain attention beside them."""
    path = tmp_path_factory.mktemp("runs")
    jobs = list_jobs(["quantum"], ["adam", "adam-uncorrected", "spgd-literal-0.5"], 2, JOB)
    threads = torch.get_num_threads()
    for job in jobs:
        run_job(job, path)
    write_step_times(jobs, path, repeats=1)
    torch.set_num_threads(threads)
    return path


def test_plain_adam_is_always_among_the_runs() -> None:
    jobs = list_jobs(["quantum"], ["spgd-0.5"], 2, JOB)
    assert [(job.attention, job.optimizer, job.seed) for job in jobs] == [
        ("plain", "adam", 0),
        ("quantum", "spgd-0.5", 0),
        ("plain", "adam", 1),
        ("quantum", "spgd-0.5", 1),
    ]


def test_all_optimizers_run_with_both_kinds_of_attention() -> None:
    jobs = list_jobs(ATTENTIONS["both"], list(OPTIMIZERS), 1, JOB)
    assert len({job.name for job in jobs}) == len(jobs) == 2 * len(OPTIMIZERS)


def test_both_kinds_of_attention_start_from_the_same_weights() -> None:
    plain, quantum = (
        make_classifier(50, 2, 8, kind, seed=3).state_dict() for kind in ("plain", "quantum")
    )
    assert set(plain) < set(quantum)
    assert all(torch.equal(value, quantum[name]) for name, value in plain.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_the_classifier(name: str) -> None:
    model = make_classifier(50, 2, 8, "quantum", seed=0)
    optimizer = OPTIMIZERS[name].make(model.parameters())
    ids, labels = (
        torch.randint(1, 50, (16, 8), generator=torch.Generator().manual_seed(0)),
        torch.arange(16) % 2,
    )
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model.eval()(ids), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_page_holds_claims_verdicts_and_what_was_run(folder: Path) -> None:
    page = write_report(text_report(folder), folder).read_text()
    for text in (
        "The paper&#39;s claims",
        "Adam, no bias correction",
        "quantum attention",
        "What was run",
        "seeds",
    ):
        assert text in page
    assert any(verdict in page for verdict in ("not reproduced", "not testable"))
    assert (folder / "test-accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("backend", ["statevector", "default.qubit", "aer"])
def test_a_checkpoint_gives_the_same_accuracy_on_exact_backends(
    folder: Path, backend: str, capsys: pytest.CaptureFixture
) -> None:
    accuracy = json.loads((folder / "quantum-adam-seed0" / "result.json").read_text())[
        "test_accuracy"
    ]
    main(folder / "quantum-adam-seed0", backend, None)
    printed = capsys.readouterr().out
    assert f"test accuracy  {accuracy:.4f} on 64 sentences" in printed
    assert "circuits run   34: 17 per layer" in printed


def test_a_checkpoint_runs_with_shots(folder: Path, capsys: pytest.CaptureFixture) -> None:
    main(folder / "quantum-adam-seed0", "aer", 4096)
    printed = capsys.readouterr().out
    assert "4,096 shots each" in printed
    assert "circuits run   34: 17 per layer" in printed


@pytest.mark.parametrize("shots", [0, -1])
def test_impossible_shots_are_refused(folder: Path, shots: int) -> None:
    with pytest.raises(InvalidArgument, match="shots"):
        main(folder / "quantum-adam-seed0", "aer", shots)


def test_shots_are_given_once(folder: Path) -> None:
    with pytest.raises(InvalidArgument, match="names shots already"):
        main(folder / "quantum-adam-seed0", "aer:shots=10", 20)


def test_an_unknown_backend_is_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UnknownName, match="statevector"):
        main(folder / "quantum-adam-seed0", "statevectr", None)


def test_a_checkpoint_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match="plain"):
        load_run(folder / "plain-adam-seed0")
    with pytest.raises(DataNotFound, match="no run"):
        load_run(tmp_path)
    other = make_classifier(50, 2, 8, "quantum", seed=0)
    weights = {name: value.clone() for name, value in other.state_dict().items()}
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (copy / name).write_bytes((folder / "quantum-adam-seed0" / name).read_bytes())
    torch.save(weights, copy / "checkpoint.pt")
    with pytest.raises(CheckpointMismatch, match=r"tokens\.weight"):
        load_run(copy)


def test_a_run_names_the_function_that_loads_it(folder: Path) -> None:
    path = folder / "quantum-adam-seed0"
    loader = json.loads((path / "config.json").read_text())["loader"]
    assert loader == "experiments.text_classification.loading:load_run"
    module, _, function = loader.partition(":")
    model, data = getattr(importlib.import_module(module), function)(path)
    assert len(data.test) == 64
    assert model.classify.out_features == data.n_classes


def test_a_run_of_earlier_that_names_no_loader_still_loads_and_reports(
    folder: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    for path in old.glob("*/config.json"):
        config = json.loads(path.read_text())
        del config["loader"]
        path.write_text(json.dumps(config))
    model, _ = load_run(old / "quantum-adam-seed0")
    expected, _ = load_run(folder / "quantum-adam-seed0")
    weights = expected.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert write_report(text_report(old), old).is_file()


def test_errors_on_the_command_line_have_no_traceback() -> None:
    command = [sys.executable, "-m", "experiments.text_classification", "--optimizers", "adma"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Did you mean 'adam'" in done.stderr
    assert "Traceback" not in done.stderr
