"""Shot noise, carried from the samples to the Fourier coefficients and to Phi."""

import math

import pytest
import torch

from hybridq.backends import resolve
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.layers import FourierForm, series
from hybridq.layers.shot_noise import coefficient_errors, derivative_errors, phi_errors, sample_phi

FORM = FourierForm(degree=4)
SCORES = torch.linspace(-math.pi, math.pi, 40, dtype=torch.float64)


def test_errors_are_those_of_many_noisy_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = torch.rand(9, dtype=torch.float64, generator=generator)
    noise = errors * torch.randn(20_000, 9, dtype=torch.float64, generator=generator)
    coefficients = FORM.coefficients(noise)
    # The spread of 20,000 draws is known to 1 / sqrt(40,000) = 0.5 %.
    torch.testing.assert_close(
        coefficient_errors(FORM, errors), coefficients.std(0), rtol=0.025, atol=0
    )
    angles = SCORES.expand(1, 20_000, -1)
    phi = series(coefficients, angles)[0]
    torch.testing.assert_close(phi_errors(FORM, errors, SCORES), phi.std(0), rtol=0.025, atol=0)
    slopes = series(FourierForm.derivative(coefficients), angles)[0]
    torch.testing.assert_close(
        derivative_errors(FORM, errors, SCORES), slopes.std(0), rtol=0.025, atol=0
    )


def test_with_equal_errors_phi_is_as_good_as_a_sample() -> None:
    """SPEC section 2: the error of Phi equals that of a sample.

    The error of its derivative is 4.9 times larger (D = 8).
    """
    form = FourierForm(degree=8)
    errors = torch.full((17,), 0.013, dtype=torch.float64)
    torch.testing.assert_close(phi_errors(form, errors, SCORES), torch.full_like(SCORES, 0.013))
    expected = torch.full_like(SCORES, 0.013 * math.sqrt(24))
    torch.testing.assert_close(derivative_errors(form, errors, SCORES), expected)
    assert round(math.sqrt(24), 1) == 4.9


def test_shapes() -> None:
    errors = torch.ones(9)
    assert phi_errors(FORM, errors, torch.zeros(2, 3)).shape == (2, 3)
    assert coefficient_errors(FORM, errors.expand(5, 9)).shape == (5, 9)


@pytest.mark.parametrize(
    "name", ["aer:shots=2000", "ibm:aer_simulator,shots=2000", "ibm:fake_manila,shots=2000"]
)
def test_phi_on_a_backend_lies_in_its_band(name: str) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=2))
    form = FourierForm.of(circuit)
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(circuit.weight_shape, dtype=torch.float64, generator=generator)
    readout = torch.tensor([0.7, -0.4], dtype=torch.float64)
    samples, errors = sample_phi(circuit, resolve(name), weights, readout)
    exact = resolve("aer:noise=fake_manila" if "manila" in name else "statevector")
    expected, no_errors = sample_phi(circuit, exact, weights, readout)
    assert torch.equal(no_errors, torch.zeros_like(no_errors))
    phi = series(form.coefficients(samples)[None], SCORES[None, None])[0, 0]
    truth = series(form.coefficients(expected)[None], SCORES[None, None])[0, 0]
    assert bool(((phi - truth).abs() < 5 * phi_errors(form, errors, SCORES)).all())
    assert (phi - truth).abs().max() > 0
    # A mean of two signs of variance 1 at most, from 2,000 shots; the two come from the same shots.
    assert 0.001 < errors.mean() < 1.1 / math.sqrt(2000)


def test_the_outputs_of_a_circuit_are_not_independent() -> None:
    """After a CNOT on |+0> the two wires agree, so that Z0 - Z1 is 0 in every shot."""
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    weights = torch.zeros(circuit.weight_shape, dtype=torch.float64)
    weights[0, 1, 0] = -math.pi / 2  # H and RY(-pi/2) leave wire 1 in |0>
    inputs = torch.zeros(1, 1, dtype=torch.float64)
    backend = resolve("aer:shots=1000")
    values, covariances = backend.evaluate_with_covariances(circuit, inputs, weights)
    difference = torch.tensor([1.0, -1.0], dtype=torch.float64)
    variance = difference @ covariances[0] @ difference
    assert values[0, 0] == values[0, 1]
    assert variance < 3 / 1000**2
    assert covariances[0, 0, 0] == pytest.approx(1 / 1000, rel=0.01)
    # The first sample is at s = 0.
    samples, errors = sample_phi(circuit, resolve("aer:shots=1000"), weights, difference)
    assert samples[0] == 0
    assert errors[0] < 2 / 1000 < 0.01 < errors[1]
