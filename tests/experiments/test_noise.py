"""Noise and a trained classifier: what is known exactly, the mitigation, and the smallest run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.noise.__main__ import main
from experiments.noise.effects import (
    Effect,
    ModelOutputs,
    measure_effect,
    outputs_of,
    without_circuits,
)
from experiments.noise.readout_mitigation import ReadoutMitigated
from experiments.noise.settings import LEVELS, SHOTS, NoiseSetting, noise_settings
from experiments.shared.classifier import TextClassifier
from experiments.text_classification.jobs import Job, run_job
from experiments.text_classification.loading import load_run
from hybridq.backends import resolve
from hybridq.circuits import Circuit, Probabilities, RyRzCnot
from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.layers import to_backend
from hybridq.study.data import Split

pytest.importorskip("qiskit_aer")
pytest.importorskip("matplotlib")

JOB = Job("synthetic", "quantum", "adam", 0, epochs=1, train_size=96, test_size=64, level=0.3)
# The model computes in float32, 6e-8, and Phi's smallest harmonics are some 1e-3 of the largest.
ROUNDING = 1e-4

Trained = tuple[TextClassifier, Split, ModelOutputs]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    name = run_job(JOB, folder)
    torch.set_num_threads(threads)
    return folder / name


@pytest.fixture(scope="module")
def trained(run: Path) -> Trained:
    model, data = load_run(run)
    return model, data.test, outputs_of(to_backend(model, "statevector"), data.test)  # type: ignore[arg-type]


def effect_of(trained: Trained, setting: NoiseSetting, seed: int = 0) -> Effect:
    return measure_effect(*trained, setting.backend(seed))


@pytest.mark.parametrize("level", [0.05, 0.3])
def test_a_readout_error_makes_phi_smaller_and_leaves_its_shape(
    trained: Trained, level: float
) -> None:
    effect = effect_of(trained, NoiseSetting("readout_error", level, None))
    left = 1 - 2 * level
    assert effect.phi_scale == pytest.approx(left, abs=ROUNDING)
    assert effect.phi_error == pytest.approx(1 - left, abs=ROUNDING)
    assert effect.harmonics == pytest.approx([left] * 8, abs=ROUNDING)


def test_mitigation_takes_it_back(trained: Trained) -> None:
    effect = effect_of(trained, NoiseSetting("readout_error", 0.3, None, mitigated=True))
    assert effect.phi_error == pytest.approx(0, abs=ROUNDING)
    assert (effect.reclassed, effect.logit_error) == pytest.approx((0, 0), abs=ROUNDING)


def test_noise_that_leaves_nothing_is_the_model_without_circuits(trained: Trained) -> None:
    control = without_circuits(*trained)
    effect = effect_of(trained, NoiseSetting("depolarizing", 0.75, None))
    assert effect.harmonics == pytest.approx([0] * 8, abs=ROUNDING)
    assert effect.phi_error == pytest.approx(1, abs=ROUNDING)
    assert control["logit_error"] > 1e-3
    for measure, value in control.items():
        assert getattr(effect, measure) == pytest.approx(value, abs=ROUNDING)


def test_the_control_leaves_the_model_as_it_was(trained: Trained) -> None:
    model, split, exact = trained
    without_circuits(model, split, exact)
    assert torch.equal(outputs_of(to_backend(model, "statevector"), split).logits, exact.logits)  # type: ignore[arg-type]


def test_noise_of_the_gates_takes_the_high_harmonics_first(trained: Trained) -> None:
    for noise in ("depolarizing", "damping"):
        left = effect_of(trained, NoiseSetting(noise, 0.03, None)).harmonics
        assert left[-1] < left[3] < left[0] < 1


def test_shots_differ_by_seed_and_their_error_falls_with_their_square_root(
    trained: Trained,
) -> None:
    errors = {
        shots: [
            effect_of(trained, NoiseSetting("readout_error", 0.0, shots), seed).phi_error
            for seed in range(5)
        ]
        for shots in (100, 10_000)
    }
    assert len(set(errors[100])) == 5
    # Ten times smaller; of five draws of some 60 independent numbers each, the mean is sure to
    # about 5 %.
    assert np.mean(errors[100]) / np.mean(errors[10_000]) == pytest.approx(10, rel=0.35)


def test_mitigated_shots_have_the_noiseless_mean_and_more_noise() -> None:
    circuit, r, shots = Circuit(RyRzCnot(n_qubits=2, n_layers=1)), 0.1, 20_000
    inputs = torch.linspace(0, 3, 4, dtype=torch.float64)[:, None]
    weights = torch.linspace(0.1, 0.9, 4, dtype=torch.float64).reshape(1, 2, 2)
    backend = ReadoutMitigated(resolve(f"aer:readout_error={r},shots={shots}"))
    outputs = backend.evaluate(circuit, inputs, weights)
    # <Z> is measured to 1/sqrt(shots), and so are the two calibrations; all are divided by 1 - 2 r.
    limit = 5 * np.sqrt(2) / np.sqrt(shots) / (1 - 2 * r)
    exact = resolve("statevector").evaluate(circuit, inputs, weights)
    torch.testing.assert_close(outputs, exact, atol=limit, rtol=0)
    assert backend.n_circuits_run == len(inputs) + 2
    assert (
        resolve(f"aer:readout_error={r}").evaluate(circuit, inputs, weights) - exact
    ).abs().max() > limit


def test_mitigation_has_gradients_and_quasi_probabilities_sum_to_1() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1), Probabilities())
    mix = torch.tensor([0.3, -1.0, 0.5, 2.0], dtype=torch.float64)
    gradients = []
    for backend in (resolve("statevector"), ReadoutMitigated(resolve("aer:readout_error=0.2"))):
        weights = torch.full((1, 2, 2), 0.4, dtype=torch.float64, requires_grad=True)
        outputs = backend.evaluate(circuit, torch.ones(3, 1, dtype=torch.float64), weights)
        (outputs @ mix).sum().backward()
        gradients.append((outputs.detach(), weights.grad))
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)
    sampled = ReadoutMitigated(resolve("aer:readout_error=0.2,shots=50"))
    outputs = sampled.evaluate(circuit, torch.ones(3, 1, dtype=torch.float64), weights.detach())
    torch.testing.assert_close(
        outputs.sum(1), torch.ones(3, dtype=torch.float64), atol=1e-10, rtol=0
    )
    assert sampled.provenance()["noise"]["readout_error"] == 0.2


def test_every_noise_is_looked_at_exactly_and_with_shots_and_once() -> None:
    asked = noise_settings(smoke=False)
    assert len(asked) == len(set(asked))
    for noise, levels in LEVELS.items():
        for level in levels:
            assert {NoiseSetting(noise, level, shots) for shots in (None, 256, 4096)} <= set(asked)
    assert {(s.level, s.mitigated) for s in asked if s.shots == SHOTS[0]} == {
        (0.0, False),
        (0.1, False),
        (0.1, True),
    }
    assert set(noise_settings(smoke=True)) < set(asked)


def test_the_smallest_run_writes_records_figures_and_numbers(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "noise"
    main([run], output=folder, smoke=True)
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["settings"]) == len(noise_settings(smoke=True))
    rows = [
        json.loads(line) for line in (folder / run.name / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["phi_error"] for row in rows] == [
        row["phi_error"][0] for row in summary["settings"]
    ]  # one draw of one run
    accuracy = json.loads((run / "result.json").read_text())["test_accuracy"]
    assert summary["runs"][0]["accuracy"] == pytest.approx(accuracy)
    for name in ("noise", "harmonics"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "without circuits" in printed
    assert "mitigated" in printed
    with pytest.raises(InvalidArgument, match="output"):
        main([run], output=folder, smoke=True)


def test_a_run_with_plain_attention_is_refused(run: Path, tmp_path: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text(json.dumps(config | {"attention": "plain"}))
    (plain / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes())
    with pytest.raises(CheckpointMismatch, match="plain"):
        main([plain], output=tmp_path / "noise", smoke=True)
