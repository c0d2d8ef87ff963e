"""Readouts against their definition, written in NumPy."""

from typing import Any

import numpy as np
import pytest
import torch

from hybridq.circuits import (
    AbstractReadout,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
)
from hybridq.errors import InvalidArgument
from tests.reference import statevector

KINDS = {
    "expval_z": ExpvalZ(),
    "probabilities": Probabilities(),
    "first_probabilities": FirstProbabilities(),
    "real_amplitudes": RealAmplitudes(),
}


def random_state(n: int) -> np.ndarray[Any, np.dtype[np.complex128]]:
    rng = np.random.default_rng(n)
    psi = rng.normal(size=2**n) + 1j * rng.normal(size=2**n)
    return psi / np.linalg.norm(psi)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_select_and_matrix_agree_with_numpy(kind: str, n: int) -> None:
    readout, psi = KINDS[kind], random_state(n)
    values = torch.from_numpy(abs(psi) ** 2 if readout.diagonal else psi.real.copy())
    expected = statevector.readout(kind, psi)
    assert len(expected) == readout.n_outputs(n)
    np.testing.assert_allclose(readout.matrix(n) @ values, expected, atol=1e-14)
    batch = torch.stack((values, 2 * values))[:, :, None].expand(2, 2**n, 3)
    selected = readout.select(batch, 1)
    assert selected.shape == (2, len(expected), 3)
    np.testing.assert_allclose(selected[1, :, 2], 2 * expected, atol=1e-14)
    np.testing.assert_allclose(readout.select(values, -1), expected, atol=1e-14)
    assert readout.matrix(n, torch.float32).dtype == torch.float32


@pytest.mark.parametrize("kind", [FirstProbabilities, RealAmplitudes])
def test_which_states_are_first(kind: type[FirstProbabilities]) -> None:
    labels = torch.arange(16)  # the basis state, wire 0 leftmost
    assert kind().select(labels, 0).tolist() == [0, 8, 4, 12]
    assert kind(order="big").select(labels, 0).tolist() == [0, 1, 2, 3]
    assert kind(count=6).select(labels, 0).tolist() == [0, 8, 4, 12, 2, 10]
    assert kind(count=100).n_outputs(2) == 4, "there are no more than 2**n states"


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_collect_reads_what_a_qnode_returns(kind: str, n: int) -> None:
    readout, psi = KINDS[kind], random_state(n)
    probabilities = torch.from_numpy(abs(psi) ** 2)
    returned: Any = {"probabilities": probabilities, "first_probabilities": probabilities}.get(kind)
    if kind == "expval_z":
        returned = list(ExpvalZ().matrix(n) @ probabilities)
    if kind == "real_amplitudes":
        returned = torch.from_numpy(psi)
    np.testing.assert_allclose(
        readout.collect(returned), statevector.readout(kind, psi), atol=1e-14
    )


@pytest.mark.parametrize("readout", KINDS.values(), ids=KINDS)
def test_a_readout_is_a_value(readout: AbstractReadout) -> None:
    assert readout == type(readout)()
    assert len({readout, type(readout)()}) == 1
    assert readout != "readout"
    assert sum(readout == other for other in KINDS.values()) == 1


@pytest.mark.parametrize(
    ("fields", "message"), [({"order": "middle"}, "order='middle'"), ({"count": -1}, "count=-1")]
)
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        FirstProbabilities(**fields)
