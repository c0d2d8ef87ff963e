"""The sine that a circuit answers with (SPEC S14)."""

import io
from dataclasses import dataclass
from math import ceil
from typing import Any

import pytest
import torch
from torch import Tensor

from hybridq.circuits import Circuit, ExpvalZ, Probabilities, RyRzCnot
from hybridq.errors import CheckpointMismatch, InvalidArgument, UnknownName
from hybridq.optim import (
    CircuitPerturbation,
    Place,
    SineAnsatz,
    SuperpositionalAdam,
    SuperpositionalOptions,
)
from tests.optim._runs import SHAPES, advance, assert_same, parameters

PLACES = [Place(0, 0), Place(0, 1), Place(0, 2)]


def thetas() -> list[Tensor]:
    source = torch.Generator().manual_seed(2)
    return [torch.randn(size, generator=source, dtype=torch.float64) for size in (5, 1, 4)]


def run_both(
    perturbation: CircuitPerturbation, steps: int = 4, **switches: Any
) -> tuple[list[Tensor], list[Tensor]]:
    result = []
    for options in (
        SuperpositionalOptions(perturbation=perturbation, **switches),
        SuperpositionalOptions(**switches),
    ):
        params = parameters(torch.float64)
        optimizer = SuperpositionalAdam(params, lr=0.05, strength=0.5, options=options)
        advance(optimizer, params, 0, steps)
        result.append([param.detach() for param in params])
    return result[0], result[1]


@pytest.mark.parametrize("backend", ["statevector", "default.qubit"])
@pytest.mark.parametrize("wires", [1, 3, 4])
def test_without_entanglement_it_is_the_sine(backend: str, wires: int) -> None:
    perturbation = CircuitPerturbation(Circuit(SineAnsatz(wires)), backend)
    factors = perturbation.factors(thetas(), 1, PLACES)
    torch.testing.assert_close(
        factors, torch.sin(torch.pi * torch.cat(thetas())), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("entries", ["per_tensor", "all"])
def test_a_run_with_circuits_equals_one_with_the_formula(entries: str) -> None:
    by_circuit, by_formula = run_both(CircuitPerturbation(), entries=entries)
    for a, b in zip(by_circuit, by_formula, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_with_the_chain_it_is_a_product_of_sines() -> None:
    perturbation = CircuitPerturbation(Circuit(SineAnsatz(3, entangled=True)), "default.qubit")
    expected = []
    for theta in thetas():
        for start in range(0, len(theta), 3):
            sines = torch.sin(torch.pi * theta[start : start + 3])
            signs = torch.tensor([(-1.0) ** i for i in range(len(sines))], dtype=torch.float64)
            expected.append(signs * sines.cumprod(0))
    torch.testing.assert_close(
        perturbation.factors(thetas(), 1, PLACES), torch.cat(expected), rtol=0, atol=1e-10
    )


def test_each_tensor_costs_its_entries_divided_by_the_wires() -> None:
    perturbation = CircuitPerturbation(Circuit(SineAnsatz(3)))
    run_both(perturbation, steps=2, entries="all")
    sizes = [torch.Size(shape).numel() for shape in SHAPES]
    assert perturbation.n_circuits_run == 2 * sum(ceil(size / 3) for size in sizes)


def test_with_shots_it_is_the_sine_within_their_noise() -> None:
    shots = 4096
    perturbation = CircuitPerturbation(
        Circuit(SineAnsatz(2)), f"default.qubit:shots={shots},seed=1"
    )
    factors = perturbation.factors(thetas(), 1, PLACES)
    expected = torch.sin(torch.pi * torch.cat(thetas()))
    sigma = ((1 - expected**2) / shots).sqrt()
    assert not torch.equal(factors, expected)
    assert bool(((factors - expected).abs() <= 5 * sigma + 1e-12).all())


def test_dtype_and_strength_0() -> None:
    perturbation = CircuitPerturbation()
    assert perturbation.factors([torch.tensor([0.5])], 1, [Place(0, 0)]).dtype == torch.float32
    params = parameters()
    options = SuperpositionalOptions(perturbation=perturbation)
    ran = perturbation.n_circuits_run
    advance(SuperpositionalAdam(params, strength=0.0, options=options), params, 0, 2)
    assert perturbation.n_circuits_run == ran


def test_a_checkpoint_is_plain_and_wants_the_circuit_again() -> None:
    params = parameters()
    options = SuperpositionalOptions(perturbation=CircuitPerturbation())
    first = SuperpositionalAdam(params, options=options)
    advance(first, params, 0, 2)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    with pytest.raises(CheckpointMismatch, match="circuit"):
        SuperpositionalAdam(parameters()).load_state_dict(state)
    copies = parameters()
    for copy, param in zip(copies, params, strict=True):
        copy.data.copy_(param.data)
    resumed = SuperpositionalAdam(
        copies, options=SuperpositionalOptions(perturbation=CircuitPerturbation())
    )
    resumed.load_state_dict(state)
    advance(first, params, 2, 4)
    advance(resumed, copies, 2, 4)
    assert_same([p.detach() for p in params], [p.detach() for p in copies])


@dataclass(frozen=True)
class Weighted(SineAnsatz):
    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (1,)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"circuit": "sine"}, r"circuit='sine': give a Circuit"),
        ({"circuit": Circuit(RyRzCnot())}, r"one input per output and no weights"),
        ({"circuit": Circuit(SineAnsatz(), Probabilities())}, r"one input per output"),
        ({"circuit": Circuit(Weighted(), ExpvalZ())}, r"no weights"),
        ({"backend": 3}, r"backend=3"),
        ({"seed": -1}, r"seed=-1"),
    ],
)
def test_what_is_no_such_circuit(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        CircuitPerturbation(**arguments)


def test_unknown_names_and_odd_wires() -> None:
    with pytest.raises(UnknownName, match="statevector"):
        CircuitPerturbation(backend="statevectr")
    with pytest.raises(InvalidArgument, match=r"wires=0: give a positive integer"):
        SineAnsatz(0)
    with pytest.raises(InvalidArgument, match=r"entangled=1: give True or False"):
        SineAnsatz(2, entangled=1)  # type: ignore[arg-type]


def test_two_circuits_in_one_optimizer_are_told_apart_by_name() -> None:
    groups = [
        {"params": [p], "perturbation": CircuitPerturbation(Circuit(SineAnsatz(n + 1)))}
        for n, p in enumerate(parameters())
    ]
    with pytest.raises(InvalidArgument, match=r"the name 'circuit' belongs to"):
        SuperpositionalAdam(groups)


def test_the_module_knows_no_other_names() -> None:
    import hybridq.optim  # noqa: PLC0415

    with pytest.raises(AttributeError, match="no attribute 'Sinus'"):
        hybridq.optim.Sinus  # noqa: B018
