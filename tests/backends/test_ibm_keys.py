"""Journals of earlier versions: what a job depends on has the hash that it always had."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hybridq.backends._core.shift import parametrise
from hybridq.backends.ibm import Ibm, Journal
from hybridq.circuits import Circuit, RyRzCnot

pytest.importorskip("qiskit_ibm_runtime")
pytest.importorskip("qiskit_aer")

CIRCUIT = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
INPUTS = torch.tensor([[0.0], [1.0], [-2.0]], dtype=torch.float64)
WEIGHTS = torch.full(CIRCUIT.weight_shape, 0.5, dtype=torch.float64)
# Contents as version 0.1 wrote them, for "fake_manila" with 64 shots and these options.
CONTENTS: list[tuple[dict[str, Any], str]] = [
    ({}, "e117f32ebe04799b35f0cc1f4bd5b3216fa89edfcf868748508ba31e7b920bb9"),
    (
        {
            "readout_mitigation": "trex",
            "twirling": True,
            "dynamical_decoupling": "XpXm",
            "seed": 3,
        },
        "a91a6ace62a94e27976244cb34281992a5e09d6baa7aa1553ec336323a25ddcc",
    ),
    (
        {"zne": True, "shots": 128},
        "09a53315b340dbf664d8930fbd8dc241de262412a01f6758d341444bd8590cd1",
    ),
]


def backend(**options: Any) -> Ibm:
    return Ibm(**{"device_name": "fake_manila", "shots": 64, **options})


@pytest.mark.parametrize(("options", "content"), CONTENTS, ids=["plain", "mitigated", "zne"])
def test_contents_are_those_of_earlier_versions(options: dict[str, Any], content: str) -> None:
    parametrised = parametrise(CIRCUIT.trace(), True)
    points = parametrised.angles(INPUTS, WEIGHTS).numpy()
    (job,) = backend(**options)._jobs(CIRCUIT, parametrised, points)
    assert job.content == content


def test_a_result_of_an_earlier_version_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybridq.backends._ibm.journal._delivered", Counter())
    journal = Journal(tmp_path / "jobs.sqlite")
    entry = journal.intend(
        f"{CONTENTS[0][1]}:0",
        device="fake_manila",
        instance=None,
        channel=None,
        circuit_hash="c",
        parameters_hash="p",
        circuits=3,
        shots=64,
        options="{}",
        estimated_seconds=2.0,
    )
    counts = np.array([[64, 0, 0, 0], [0, 64, 0, 0], [32, 0, 0, 32]], dtype=np.uint32)
    journal.done(entry.tag, {"counts": counts})
    device = backend(journal=journal.path)
    outputs = device.evaluate(CIRCUIT, INPUTS, WEIGHTS)
    assert outputs.tolist() == [[1.0, 1.0], [1.0, -1.0], [0.0, 0.0]]
    assert (device.jobs_run, device.transpilations) == (0, 0)
