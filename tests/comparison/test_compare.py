"""`hybridq.comparison.compare` on circuits, QNodes and models."""

import json
from dataclasses import dataclass, field

import numpy as np
import pennylane as qml
import pytest
import torch

from hybridq.backends.aer import Aer
from hybridq.backends.statevector import Statevector
from hybridq.circuits import Circuit, ExpvalZ, FirstProbabilities, RealAmplitudes, RyRzCnot
from hybridq.comparison import CompareOptions, compare
from hybridq.comparison.listing import resolve_all, split_list, state_shots
from hybridq.errors import (
    CheckpointMismatch,
    DataCorrupted,
    DataNotFound,
    InvalidArgument,
    UnknownName,
)
from hybridq.layers import (
    FourierForm,
    QuantumAttention,
    QuantumOptions,
    circuit_modules,
    to_backend,
)
from hybridq.layers.given import given_to
from hybridq.study.runs import Run
from tests.comparison._models import CIRCUIT, Data, tiny

QUICK = CompareOptions(resamples=100, redraws=2)
INPUTS = torch.tensor([[0.3], [1.2], [2.9]], dtype=torch.float64)
WEIGHTS = torch.linspace(-1, 2, 4, dtype=torch.float64).reshape(1, 2, 2)
LOADER = "tests.comparison._models:load"


@dataclass
class Counting(Statevector):
    """Counts evaluations, each of which would be a job."""

    calls: int = field(default=0, init=False, compare=False)

    def _evaluate(self, circuit, inputs, weights):
        self.calls += 1
        return super()._evaluate(circuit, inputs, weights)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "seed").write_text("0")
    return tmp_path


def test_shots_of_an_ideal_simulator_are_within_shot_noise():
    found = compare(
        CIRCUIT, "statevector,aer:shots=2000,default.qubit", INPUTS, WEIGHTS, options=QUICK
    )
    assert [one.verdict.kind for one in found.results] == [
        "reference",
        "within shot noise",
        "equal",
    ]
    ours = found["aer:shots=2000"]
    exact = Statevector().evaluate(CIRCUIT, INPUTS, WEIGHTS).numpy()
    seen = Aer(shots=2000).evaluate(CIRCUIT, INPUTS, WEIGHTS).numpy()
    np.testing.assert_allclose(ours["deviations"].values, seen - exact, atol=1e-12)
    errors = Aer(shots=2000).evaluate_with_errors(CIRCUIT, INPUTS, WEIGHTS)[1].numpy()
    np.testing.assert_allclose(ours["deviations"].errors, errors, rtol=1e-9)
    assert (ours.measurement.cost.circuits, ours.measurement.cost.jobs) == (3, 1)


def test_readout_noise_is_beyond_shot_noise():
    found = compare(
        CIRCUIT,
        "statevector,aer:noise=fake_torino,aer:noise=fake_torino,shots=20000",
        INPUTS,
        WEIGHTS,
        options=QUICK,
    )
    assert [one.verdict.kind for one in found.others] == ["different", "beyond shot noise"]
    noisy, shots = found.others
    low, high = shots["total_variation"].interval
    assert low <= noisy["total_variation"].value <= high


def test_one_evaluation_serves_everything_of_a_model():
    model, examples = tiny()
    first, second = Counting(), Counting()
    found = compare(model, [first, second], examples, options=QUICK)
    assert (first.calls, second.calls) == (1, 1)
    assert first.n_circuits_run == 3 * FourierForm.of(CIRCUIT).n_samples  # two heads and one layer
    assert [one.label for one in found.results] == ["statevector", "statevector #2"]


def test_logits_are_those_of_the_model_on_that_backend():
    model, examples = tiny()
    found = compare(model, "statevector,aer:shots=50", examples, options=QUICK)
    with torch.no_grad():
        plain = model.eval()(examples.ids)
        noisy = to_backend(model, "aer:shots=50")(examples.ids)
    errors, accuracy = found["aer:shots=50"]["logits"], found["aer:shots=50"]["accuracy"]
    assert errors.rms == pytest.approx(float((noisy - plain).square().mean().sqrt()), rel=1e-3)
    assert accuracy.correct == int((noisy.argmax(1) == examples.labels).sum())
    assert errors.rms_alone.low < errors.rms_alone.high


def test_phi_is_that_of_the_layer():
    model, examples = tiny()
    found = compare(model, "statevector,aer:shots=100", examples, options=QUICK)
    with torch.no_grad():
        expected = (
            torch.cat([model.layers[0].coefficients(), model.layers[1].coefficients()[:1]])
            .double()
            .numpy()
        )
    np.testing.assert_allclose(
        [curve.coefficients for curve in found.reference["phi"].curves], expected, atol=1e-6
    )
    assert [curve.name for curve in found.reference["phi"].curves] == [
        "layer 1, head 1",
        "layer 1, head 2",
        "layer 2",
    ]
    for curve, base, distance in zip(
        found.others[0]["phi"].curves,
        found.reference["phi"].curves,
        found.others[0]["phi"].distances,
        strict=True,
    ):
        error = (curve.values - base.values)[:-1]  # the last is the first, a period later
        assert distance.value == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
        assert (curve.half_widths > 0).all()
        assert (base.half_widths == 0).all()


def test_a_comparison_leaves_the_model_as_it_was():
    model, examples = tiny()
    model.train()
    compare(model, "statevector,default.qubit", examples, options=QUICK)
    assert model.training
    assert all(given_to(score) is None for score in circuit_modules(model))


def test_the_same_seeds_give_the_same_record():
    records = [
        compare(CIRCUIT, "statevector,aer:shots=100", INPUTS, WEIGHTS, options=QUICK).to_json()
        for _ in range(2)
    ]
    assert records[0]["results"] == records[1]["results"]


def test_a_checkpoint_written_and_compared_again_without_circuits(run):
    options = CompareOptions(resamples=100, redraws=2, loader=LOADER)
    first = compare(run, "statevector,ibm:fake_torino+mitigated,shots=256", options=options)
    first.write(run / "out")
    record = json.loads((run / "out" / "compare.json").read_text())
    assert (record["format"], record["version"], record["subject"]["kind"]) == (
        "hybridq.compare",
        1,
        "model",
    )
    stored = CompareOptions(
        resamples=100, redraws=2, loader=LOADER, stored=(run / "out" / "compare.json",)
    )
    reference = Counting()
    again = compare(run, [reference], options=stored)
    assert reference.calls == 1
    old, new = first.others[0], again.others[1]
    assert new.label.startswith("ibm:fake_torino+mitigated,shots=256 (")
    assert new.stored == "compare.json"
    np.testing.assert_array_equal(old["deviations"].values, new["deviations"].values)
    assert (old["deviations"].p, old["logits"].rms) == (
        new["deviations"].p,
        pytest.approx(new["logits"].rms),
    )
    assert old.measurement.covariances is not None
    page = (run / "out" / "compare.html").read_text()
    assert "ibm:fake_torino" in page
    assert "http" not in page.replace("http-equiv", "")
    (run / "seed").write_text("1")
    with pytest.raises(CheckpointMismatch, match="other inputs or weights"):
        compare(run, "statevector", options=stored)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "hybridq.compare", "version": 2}', '{"format": 3, "version": 1}'],
)
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "old.json").write_text(text)
    options = CompareOptions(stored=(tmp_path / "old.json",))
    with pytest.raises(DataCorrupted, match=r"old\.json"):
        compare(CIRCUIT, "statevector", INPUTS, WEIGHTS, options=options)
    with pytest.raises(DataNotFound, match="none"):
        compare(
            CIRCUIT,
            "statevector",
            INPUTS,
            WEIGHTS,
            options=CompareOptions(stored=(tmp_path / "none.json",)),
        )


def test_a_record_with_numbers_cut_off_is_refused(tmp_path):
    record = compare(CIRCUIT, "statevector,default.qubit", INPUTS, WEIGHTS, options=QUICK).to_json()
    record["backends"][0]["probabilities"].pop()
    (tmp_path / "old.json").write_text(json.dumps(record))
    with pytest.raises(DataCorrupted, match="statevector"):
        compare(
            CIRCUIT,
            "statevector",
            INPUTS,
            WEIGHTS,
            options=CompareOptions(stored=(tmp_path / "old.json",)),
        )


def test_a_run_names_its_loader(tmp_path):
    run = Run.create(tmp_path, "named", {"lr": 1}, loader=LOADER)
    (run.path / "seed").write_text("0")
    assert Run.load(run.path).loader == LOADER
    comparison = compare(run.path, "statevector,default.qubit", options=QUICK)
    assert (comparison.subject.kind, comparison.subject.name) == ("model", "named")
    other = Run.create(tmp_path, "other", {"lr": 1}, loader="os.path:abspath")
    with pytest.raises(InvalidArgument, match=r"loader='os.path:abspath'.*not declared"):
        compare(other.path, "statevector,default.qubit", options=QUICK)
    nameless = Run.create(tmp_path, "nameless", {"lr": 1})
    with pytest.raises(InvalidArgument, match=r"loader=None.*'nameless'.*--loader"):
        compare(nameless.path, "statevector,default.qubit", options=QUICK)
    with pytest.raises(DataNotFound, match="is no run"):
        compare(tmp_path, "statevector,default.qubit", options=QUICK)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ("load", "write package.module"),
        ("no_such_module:load", "there is no module 'no_such_module'.*--loader"),
        ("tests.comparison._models:lod", "unknown loader of tests.comparison._models 'lod'"),
    ],
)
def test_a_loader_that_cannot_be_imported(run, loader, message):
    options = CompareOptions(resamples=100, redraws=2, loader=loader)
    with pytest.raises(InvalidArgument, match=message) as caught:
        compare(run, "statevector,default.qubit", options=options)
    assert "backend" not in str(caught.value)


def test_qnode():
    @qml.qnode(qml.device("default.qubit"))
    def node(x, y):
        qml.RX(x, "b")
        qml.CRY(y, ["b", "a"])
        qml.IsingXX(x * y, ["a", "c"])
        return (
            qml.expval(qml.Z("a") @ qml.Z("c")),
            qml.expval(0.5 * qml.Z("b") - 2 * qml.I("b")),
            qml.probs(["c", "a"]),
        )

    x = np.array([0.1, 0.7, -2.0])
    found = compare(node, "statevector,default.qubit,aer:shots=500", x, 0.4, options=QUICK)
    values = found.reference.measurement.outputs(found.subject.matrix.numpy())
    zz, z, probs = node(x, 0.4)
    np.testing.assert_allclose(values, np.column_stack([zz, z, probs]), atol=1e-12)
    assert found.others[0].verdict.kind == "equal"
    assert len(found.subject.observables) == 6
    assert found.others[1].measurement.cost.circuits == 3


@pytest.mark.parametrize(
    "measure",
    [
        lambda: qml.expval(qml.X(0)),
        lambda: qml.var(qml.Z(0)),
        lambda: qml.probs(op=qml.X(0)),
        qml.state,
    ],
)
def test_a_qnode_that_measures_something_else_is_refused(measure):
    @qml.qnode(qml.device("default.qubit"))
    def node():
        qml.Hadamard(0)
        return measure()

    with pytest.raises(InvalidArgument, match="measurement="):
        compare(node, "statevector,default.qubit")


def test_misuse():
    with pytest.raises(InvalidArgument, match="two at least"):
        compare(CIRCUIT, "statevector", INPUTS, WEIGHTS)
    with pytest.raises(InvalidArgument, match="inputs and weights"):
        compare(CIRCUIT, "statevector,default.qubit", INPUTS)
    with pytest.raises(InvalidArgument, match="subject="):
        compare(3, "statevector,default.qubit")
    with pytest.raises(InvalidArgument, match="readout="):
        compare(
            Circuit(CIRCUIT.ansatz, RealAmplitudes()), "statevector,default.qubit", INPUTS, WEIGHTS
        )
    with pytest.raises(InvalidArgument, match="n_qubits=9"):
        compare(Circuit(RyRzCnot(9, 1)), "statevector,default.qubit", INPUTS, torch.zeros(1, 9, 2))
    with pytest.raises(InvalidArgument, match=r"loader=.*no module"):
        compare(
            "/nowhere",
            "statevector,default.qubit",
            options=CompareOptions(loader="no_such_module:load"),
        )
    with pytest.raises(InvalidArgument, match="QuantumAttention"):
        compare(torch.nn.Linear(2, 2), "statevector,default.qubit", Data(tiny()[1]).test)
    per_score = QuantumAttention(4, 2, options=QuantumOptions(CIRCUIT, method="per_score"))
    with pytest.raises(InvalidArgument, match="method="):
        compare(per_score, "statevector,default.qubit", tiny()[1])
    for wrong in (
        {"shots": 0},
        {"resamples": 5},
        {"redraws": 1},
        {"price_per_minute": -1.0},
        {"seed": -1},
    ):
        with pytest.raises(InvalidArgument):
            CompareOptions(**wrong)


def test_lists_of_backends():
    assert split_list(
        "statevector, aer:shots=4096,seed=1,ibm:fake_torino+mitigated,my.mod:Cls:shots=2"
    ) == [
        "statevector",
        "aer:shots=4096,seed=1",
        "ibm:fake_torino+mitigated",
        "my.mod:Cls:shots=2",
    ]
    for wrong in ("", "statevector,", "seed=1,aer", "aer,,statevector"):
        with pytest.raises(InvalidArgument, match="backends="):
            split_list(wrong)


def test_shots_are_stated_once_and_never_made_up():
    assert state_shots(["aer:shots=9", "ibm:fake_torino", "ibm"], None) == [
        "aer:shots=9",
        "ibm:fake_torino,shots=9",
        "ibm:shots=9",
    ]
    assert state_shots(["aer", "ibm:fake_torino"], 7) == ["aer", "ibm:fake_torino,shots=7"]
    with pytest.raises(InvalidArgument, match="no backend names any"):
        state_shots(["statevector", "ibm:fake_torino"], None)
    with pytest.raises(InvalidArgument, match="others name 5, 6"):
        state_shots(["aer:shots=5", "aer:shots=6", "ibm:fake_torino"], None)
    with pytest.raises(InvalidArgument, match="give them once"):
        state_shots(["aer:shots=5", "ibm:fake_torino"], 6)
    with pytest.raises(UnknownName):
        resolve_all("statevector,nonsense", None)


def test_observables_have_names():
    names = [
        compare(
            Circuit(CIRCUIT.ansatz, readout), "statevector,default.qubit", INPUTS, WEIGHTS
        ).subject.observables
        for readout in (ExpvalZ(), FirstProbabilities())
    ]
    assert names == [("⟨Z0⟩", "⟨Z1⟩"), ("P(00)", "P(10)")]


def test_no_path_and_no_secret_in_the_record(monkeypatch, tmp_path):
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "top-secret-token")
    backend = Aer(shots=10)
    found = compare(CIRCUIT, ["statevector", backend], INPUTS, WEIGHTS, options=QUICK)
    assert found.others[0].label == "aer:shots=10"
    found.write(tmp_path)
    for name in ("compare.json", "compare.html"):
        text = (tmp_path / name).read_text()
        assert "top-secret" not in text
        assert str(tmp_path) not in text
