"""The `ibm` backend on local devices: the runtime's own primitives, simulated."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybridq.backends import AbstractBackend, resolve
from hybridq.circuits import Circuit, ExpvalZ, FirstProbabilities, Probabilities, RyRzCnot
from hybridq.errors import BudgetExceeded, InvalidArgument, MissingExtra, UnknownName

pytest.importorskip("qiskit_ibm_runtime")
pytest.importorskip("qiskit_aer")

from qiskit import QuantumCircuit

from hybridq.backends._ibm.job import IbmJob
from hybridq.backends._ibm.journal import Journal
from hybridq.backends._ibm.mitigation import z_strings
from hybridq.backends.aer import Aer
from hybridq.backends.ibm import Ibm

SMALL = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
READOUTS = [ExpvalZ(), Probabilities(), FirstProbabilities()]


def weights_of(circuit: Circuit, seed: int = 0) -> Tensor:
    return torch.randn(
        circuit.weight_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def points(n: int) -> Tensor:
    return torch.linspace(-1, 2, n, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("readout", READOUTS, ids=lambda r: type(r).__name__)
def test_a_fake_device_has_the_noise_of_aers(readout: Any) -> None:
    """Aer's noise is tested against the model of the whole device, and both compile alike."""
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2, pattern="ring"), readout)
    backend = Ibm("fake_manila", shots=10_000)
    exact = Aer(noise="fake_manila")
    values, errors = backend.evaluate_with_errors(circuit, points(5), weights_of(circuit))
    expected = exact.evaluate(circuit, points(5), weights_of(circuit))
    assert bool(((values - expected).abs() < 5 * errors + 1e-12).all())
    ideal = resolve("statevector").evaluate(circuit, points(5), weights_of(circuit))
    assert bool(((values - ideal).abs() > 5 * errors).any()), "there is no noise"
    assert backend.provenance()["physical_qubits"] == exact.provenance()["physical_qubits"]


@pytest.mark.parametrize(
    "options",
    [
        {"readout_mitigation": "trex"},
        {"zne": True},
        {"twirling": True},
        {"readout_mitigation": "trex", "zne": True, "twirling": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("readout", READOUTS, ids=lambda r: type(r).__name__)
def test_mitigation_of_no_errors_changes_nothing(options: dict[str, Any], readout: Any) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=1), readout)
    backend = Ibm("aer_simulator", shots=2048, **options)
    values, errors = backend.evaluate_with_errors(circuit, points(4), weights_of(circuit))
    ideal = resolve("statevector").evaluate(circuit, points(4), weights_of(circuit))
    # The estimator's errors are themselves estimates from 32 random circuits, good to 12 %.
    assert bool(((values - ideal).abs() < 6 * errors + 1e-9).all())
    assert backend.jobs_run == 1


@pytest.mark.parametrize(
    "options",
    [{"readout_mitigation": "trex"}, {"dynamical_decoupling": "XY4", "readout_mitigation": "trex"}],
)
def test_readout_mitigation_brings_the_values_closer(options: dict[str, Any]) -> None:
    ideal = resolve("statevector").evaluate(SMALL, points(6), weights_of(SMALL))
    deviation = [
        (
            Ibm("fake_manila", shots=16_384, **chosen).evaluate(SMALL, points(6), weights_of(SMALL))
            - ideal
        )
        .abs()
        .mean()
        .item()
        for chosen in ({}, options)
    ]
    assert deviation[1] < 0.7 * deviation[0]


def test_zero_noise_extrapolation_brings_the_values_closer() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=3, pattern="ring"))
    options: dict[str, Any] = {"shots": 8192, "readout_mitigation": "trex"}
    ideal = resolve("statevector").evaluate(circuit, points(3), weights_of(circuit))
    plain, folded = (
        Ibm("fake_manila", zne=zne, **options).evaluate(circuit, points(3), weights_of(circuit))
        for zne in (False, True)
    )
    assert (folded - ideal).abs().mean() < 0.7 * (plain - ideal).abs().mean()


@pytest.mark.parametrize(
    "name", ["aer:shots=4096", "default.qubit:shots=4096", "ibm:aer_simulator,shots=4096"]
)
def test_errors_are_those_of_the_shots(name: str) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2))
    backend: AbstractBackend = resolve(name)
    values, covariances = backend.evaluate_with_covariances(
        circuit, points(100), weights_of(circuit)
    )
    p = resolve("statevector").evaluate(
        Circuit(circuit.ansatz, Probabilities()), points(100), weights_of(circuit)
    )
    matrix = circuit.readout.matrix(3)
    expected = p @ matrix.T
    exact = (
        torch.einsum("oi,bi,pi->bop", matrix, p, matrix)
        - expected[:, :, None] * expected[:, None, :]
    ) / 4096
    # A covariance is estimated from 4,096 shots, to within 5 / sqrt(4096) of 1 / 4096.
    torch.testing.assert_close(covariances, exact, atol=5 / 4096**1.5, rtol=0)
    assert bool(
        ((values - expected).abs() < 5 * exact.diagonal(dim1=1, dim2=2).sqrt() + 1e-12).all()
    )
    assert covariances.abs().max() > 0.1 / 4096
    errors = backend.evaluate_with_errors(circuit, points(2), weights_of(circuit).requires_grad_())[
        1
    ]
    assert errors.shape == (2, 3)
    assert not errors.requires_grad


def test_an_exact_backend_has_no_errors() -> None:
    values, errors = resolve("statevector").evaluate_with_errors(
        SMALL, points(3), weights_of(SMALL)
    )
    assert torch.equal(values, resolve("statevector").evaluate(SMALL, points(3), weights_of(SMALL)))
    assert torch.equal(errors, torch.zeros_like(values))


def test_no_points_have_no_errors() -> None:
    for name in ("aer:shots=10", "ibm:aer_simulator,shots=10", "statevector"):
        values, errors = resolve(name).evaluate_with_errors(SMALL, points(0), weights_of(SMALL))
        assert values.shape == errors.shape == (0, 2)


def test_one_compilation_and_one_job_per_step() -> None:
    backend = Ibm("fake_manila", shots=64)
    for seed in range(3):
        backend.evaluate(
            SMALL, points(5), weights_of(SMALL, seed).requires_grad_()
        ).sum().backward()
    assert (backend.transpilations, backend.jobs_run) == (1, 3)
    assert backend.n_circuits_run == 3 * 5 * (1 + 2 * 4)
    spsa = Ibm("fake_manila", shots=64, gradient="spsa")
    spsa.evaluate(SMALL, points(5), weights_of(SMALL).requires_grad_()).sum().backward()
    assert (spsa.jobs_run, spsa.n_circuits_run) == (1, 5 * 3)


def test_a_large_batch_is_cut_at_the_limit_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybridq.backends._ibm.budget.JOB_EXECUTIONS", 4 * 256)
    backend = Ibm("aer_simulator", shots=256)
    assert backend.estimate(SMALL, points(10), weights_of(SMALL)).jobs == 3
    values, errors = backend.evaluate_with_errors(SMALL, points(10), weights_of(SMALL))
    assert (backend.jobs_run, backend.n_circuits_run) == (3, 10)
    ideal = resolve("statevector").evaluate(SMALL, points(10), weights_of(SMALL))
    assert bool(((values - ideal).abs() < 5 * errors + 1e-12).all())
    with pytest.raises(InvalidArgument, match=r"shots=2000.*one job may execute"):
        Ibm("aer_simulator", shots=2000).evaluate(SMALL, points(1), weights_of(SMALL))


def test_equal_chunks_get_shots_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybridq.backends._ibm.budget.JOB_EXECUTIONS", 256)
    values = Ibm("aer_simulator", shots=256).evaluate(
        SMALL, torch.ones(4, 1, dtype=torch.float64), weights_of(SMALL)
    )
    assert len({tuple(row) for row in values.tolist()}) > 1


def test_a_run_is_reproducible_and_its_evaluations_differ() -> None:
    def run(seed: int) -> list[Tensor]:
        backend = Ibm("aer_simulator", shots=100, seed=seed)
        return [backend.evaluate(SMALL, points(4), weights_of(SMALL)) for _ in range(2)]

    first, second, other = run(3), run(3), run(4)
    assert torch.equal(torch.stack(first), torch.stack(second))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_a_circuit_without_parameters() -> None:
    from tests.backends.test_aer import Flips  # noqa: PLC0415

    for options in ({}, {"readout_mitigation": "trex"}):
        z = Ibm("aer_simulator", shots=64, **options).evaluate(
            Circuit(Flips()), torch.zeros(3, 0), torch.zeros(0)
        )
        torch.testing.assert_close(z, -torch.ones(3, 2), atol=0, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"twirling": True},
        {"readout_mitigation": "trex"},
        {"zne": True},
        {"zne": True, "readout_mitigation": "trex"},
    ],
    ids=str,
)
def test_the_estimate_counts_what_the_runtime_executes(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qiskit_ibm_runtime.fake_provider.local_service import QiskitRuntimeLocalService  # noqa: PLC0415

    seen = []

    def record(self: Any, backend: Any, options: Any, inputs: Any, dry_run: bool = False) -> Any:
        seen.append(inputs.shots * sum(item.size() for item in inputs.items))
        raise KeyboardInterrupt

    monkeypatch.setattr(QiskitRuntimeLocalService, "_run_executor", record)
    backend = Ibm("fake_manila", shots=2048, **options)
    arguments = SMALL, points(3), weights_of(SMALL).requires_grad_()
    estimate = backend.estimate(*arguments)
    with pytest.raises(KeyboardInterrupt):
        backend.evaluate(*arguments)
    assert seen == [estimate.executions]
    assert estimate.circuits == 3 * (1 + 2 * 4)


def test_a_set_of_weights_serves_points_in_a_row() -> None:
    sets = torch.stack([weights_of(SMALL, 0), weights_of(SMALL, 1)])
    ours, theirs = (
        Ibm("aer_simulator", shots=100).evaluate_with_errors(SMALL, points(4), given)
        for given in (sets, sets.repeat_interleave(2, 0))
    )
    assert all(map(torch.equal, ours, theirs))
    assert Ibm("aer_simulator", shots=100).estimate(
        SMALL, points(4), sets, gradients=True
    ).circuits == 4 * (1 + 2 * 2)


def test_an_estimate_is_the_formula_that_it_prints() -> None:
    backend = Ibm("fake_torino", shots=4096)
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    estimate = backend.estimate(circuit, points(17), weights_of(circuit), gradients=True)
    assert (estimate.circuits, estimate.shots, estimate.jobs) == (17 * 33, 4096, 1)
    assert backend.estimate(circuit, points(17), weights_of(circuit)).circuits == 17
    text = str(estimate)
    duration, delay = (
        float(re.search(rf"{name} +([0-9.]+) us", text)[1]) for name in ("duration", "rep_delay")
    )  # type: ignore[index]
    assert 0.5 < duration < 20, "six CZ gates of 68 ns and a measurement of 1.56 us"
    assert delay == 250
    assert estimate.qpu_seconds == pytest.approx(
        17 * 33 * 4096 * (duration + delay) * 1e-6 + 2, rel=1e-3
    )
    assert backend.jobs_run == 0


def test_a_budget_is_a_hard_stop_before_anything_is_sent() -> None:
    cost = Ibm("fake_manila", shots=64).estimate(SMALL, points(3), weights_of(SMALL)).qpu_seconds
    backend = Ibm("fake_manila", shots=64, max_qpu_seconds=0.9 * cost)
    with pytest.raises(BudgetExceeded, match="Nothing was sent") as caught:
        backend.evaluate(SMALL, points(3), weights_of(SMALL))
    assert (caught.value.estimate, caught.value.limit, caught.value.spent) == (
        pytest.approx(cost),
        0.9 * cost,
        0,
    )
    assert (backend.jobs_run, backend.n_circuits_run) == (0, 0)
    enough = Ibm("fake_manila", shots=64, max_qpu_seconds=1.1 * cost)
    for _ in range(3):  # what a local device uses is 0 s
        enough.evaluate(SMALL, points(3), weights_of(SMALL))
    assert enough.spent() == 0


def test_layout_and_provenance(tmp_path: Path) -> None:
    backend = Ibm(
        "fake_torino", shots=64, initial_layout=(4, 5), seed=2, journal=tmp_path / "jobs.sqlite"
    )
    backend.evaluate(SMALL, points(2), weights_of(SMALL))
    record = json.loads(json.dumps(backend.provenance()))
    assert record["physical_qubits"] == [[4, 5]]
    assert record["calibration"].startswith("20")
    assert (record["device"], record["noise"], record["shots"], record["seed"]) == (
        "fake_torino",
        "fake_torino",
        64,
        2,
    )
    assert len(record["jobs"]) == 1
    assert record["qpu_seconds"] == 0 < record["estimated_qpu_seconds"]
    assert set(record["versions"]) == {"qiskit", "qiskit-aer", "qiskit-ibm-runtime"}
    assert str(tmp_path) not in json.dumps(record)


def test_a_backend_that_was_only_made_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRIDQ_JOURNAL", str(tmp_path / "jobs.sqlite"))
    Ibm("ibm_torino", shots=10)
    Ibm("aer_simulator", shots=64).evaluate(SMALL, points(1), weights_of(SMALL))
    assert not list(tmp_path.iterdir())


def test_names() -> None:
    assert resolve("ibm:fake_torino,shots=4096") == Ibm("fake_torino", shots=4096)
    assert resolve("ibm:device_name=fake_torino,shots=4096,initial_layout=4-5") == Ibm(
        "fake_torino", shots=4096, initial_layout=(4, 5)
    )
    mitigated = Ibm(
        "fake_manila", 4096, readout_mitigation="trex", twirling=True, dynamical_decoupling="XpXm"
    )
    assert resolve("ibm:fake_manila+mitigated,shots=4096") == mitigated
    chosen: Any = resolve(
        "ibm:fake_manila+mitigated,shots=4096,dynamical_decoupling=XY4,readout_mitigation=none"
    )
    assert (chosen.readout_mitigation, chosen.twirling, chosen.dynamical_decoupling) == (
        None,
        True,
        "XY4",
    )
    crn = "crn:v1:bluemix:public:quantum-computing:us-east:a/account:instance::"
    assert resolve(f"ibm:ibm_torino,instance={crn},shots=10").instance == crn  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("ibm:fake_torino", InvalidArgument, r"shots=None: say how many"),
        ("ibm", InvalidArgument, r"shots=None: say how many"),
        ("ibm:fake_tornio,shots=10", UnknownName, "Did you mean 'fake_torino'"),
        (
            "ibm:fake_torino+mitigate,shots=10",
            UnknownName,
            "preset of backend 'ibm' 'mitigate'. Did you mean 'mitigated'",
        ),
        ("ibm:shots=10,fake_torino", InvalidArgument, "option=value"),
        ("ibm:fake_torino,shots=10,mode=fast", InvalidArgument, "mode"),
        ("ibm:fake_torino,shots=10,optimization_level=4", InvalidArgument, "choose 0, 1, 2 or 3"),
        ("ibm:fake_torino,shots=10,max_qpu_seconds=0", InvalidArgument, "max_qpu_seconds=0"),
        (
            "ibm:fake_torino,shots=100,twirling=true",
            InvalidArgument,
            "shots=100.*the next that can be is 128",
        ),
        (
            "ibm:fake_torino,shots=4100,readout_mitigation=trex",
            InvalidArgument,
            "the next that can be is 4128",
        ),
        (
            "ibm:aer_simulator,shots=10,dynamical_decoupling=XX",
            InvalidArgument,
            "has no gate times",
        ),
        (
            "ibm:fake_torino,shots=10,readout_mitigation=mthree",
            MissingExtra,
            "mthree is not installed.*pip install mthree",
        ),
        ("ibm:fake_torino,shots=10,readout_mitigation=mthree,zne=true", InvalidArgument, "zne"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        resolve(name)


@pytest.mark.parametrize(
    "option", ["mode", "readout_mitigation", "dynamical_decoupling", "gradient"]
)
def test_choices_are_checked_without_resolve_too(option: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{option}='no'"):
        Ibm("fake_torino", shots=10, **{option: "no"})  # type: ignore[arg-type]


def test_z_strings_are_the_readout() -> None:
    rng = np.random.default_rng(0)
    matrix, p = rng.normal(size=(3, 16)), rng.random(16)
    strings, constant, coefficients = z_strings(matrix)
    signs = np.array([[(-1) ** bin(s & x).count("1") for x in range(16)] for s in strings])
    np.testing.assert_allclose(
        constant * p.sum() + coefficients @ (signs @ p), matrix @ p, atol=1e-12
    )
    assert z_strings(ExpvalZ().matrix(3).numpy())[0] == [1, 2, 4]


def test_a_local_device_keeps_a_journal_where_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Ibm("fake_manila", shots=64, journal=tmp_path / "jobs.sqlite")
    outputs = backend.evaluate(SMALL, points(3), weights_of(SMALL))
    monkeypatch.setattr(
        "hybridq.backends._ibm.journal._delivered", Counter()
    )  # as in a new process
    again = Ibm("fake_manila", shots=64, journal=tmp_path / "jobs.sqlite")
    assert torch.equal(again.evaluate(SMALL, points(3), weights_of(SMALL)), outputs)
    assert again.jobs_run == 0


def test_a_local_job_of_a_process_that_is_gone_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hybridq.backends._ibm.dispatcher.collect", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            Ibm("fake_manila", shots=64, journal=tmp_path / "jobs.sqlite").evaluate(
                SMALL, points(3), weights_of(SMALL)
            )
    again = Ibm("fake_manila", shots=64, journal=tmp_path / "jobs.sqlite")
    assert again.evaluate(SMALL, points(3), weights_of(SMALL)).shape == (3, 2)
    assert again.jobs_run == 1
    assert [entry.state for entry in Journal(tmp_path / "jobs.sqlite").entries()] == ["done"]


def test_a_device_cut_down_draws_the_shots_of_the_whole_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same seed gives the same bits, so the noise is the same number by number."""

    def counts() -> Any:
        backend = Ibm("fake_manila", shots=512, initial_layout=(3, 2))
        backend.evaluate(SMALL, points(3), weights_of(SMALL))
        return backend._dispatcher.journal.result(backend._dispatcher.tags[0])["counts"]

    cut = counts()
    monkeypatch.setattr(IbmJob, "_circuit", whole)
    np.testing.assert_array_equal(counts(), cut)


def whole(self: IbmJob, measured: bool) -> tuple[Any, Any]:
    circuit = QuantumCircuit(5)
    qubits = list(self.physical.physical)
    device = self.target.runtime.device
    circuit.compose(self.physical.circuit, qubits=qubits, inplace=True)
    self._measure(circuit, qubits)
    return circuit, device
