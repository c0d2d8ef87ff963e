"""The Fourier form against the sum of cosines and sines that it stands for."""

import math

import pytest
import torch
from torch import Tensor

from hybridq.circuits import Circuit, ExpvalZ, Probabilities, RealAmplitudes, RyRzCnot
from hybridq.circuits._fourier import _matrices
from hybridq.engine import evaluate
from hybridq.errors import InvalidArgument, NotDifferentiable, UnsupportedEncoding
from hybridq.layers import FourierForm, series
from hybridq.layers.fused.series import _to_polynomials

DEGREES = range(41)


def brute_force(coefficients: Tensor, angles: Tensor) -> Tensor:
    """The definition; shapes (heads, 2 D + 1) and (batch, heads, ...)."""
    degree = coefficients.shape[1] // 2
    k = torch.arange(1, degree + 1, dtype=angles.dtype)
    waves = angles[..., None] * k  # (batch, heads, ..., D)
    shape = (1, len(coefficients), *[1] * (angles.ndim - 2), -1)
    a0, a, b = (part.reshape(shape) for part in coefficients.split((1, degree, degree), 1))
    return a0[..., 0] + (a * waves.cos() + b * waves.sin()).sum(-1)


def example(degree: int, heads: int = 2) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(degree)
    coefficients = torch.randn(heads, 2 * degree + 1, dtype=torch.float64, generator=rng)
    angles = 4 * torch.randn(3, heads, 5, 4, dtype=torch.float64, generator=rng)
    # There the polynomials are at the ends of their interval.
    angles.view(-1)[:4] = torch.tensor([0.0, math.pi, -math.pi / 2, math.pi / 4])
    return coefficients.requires_grad_(), angles.requires_grad_()


def results(function: object, coefficients: Tensor, angles: Tensor) -> tuple[Tensor, ...]:
    values: Tensor = function(coefficients, angles)  # type: ignore[operator]
    mix = torch.linspace(-1, 1.3, values.numel(), dtype=values.dtype).view_as(values)
    return values.detach(), *torch.autograd.grad((values * mix).sum(), (coefficients, angles))


@pytest.mark.parametrize("degree", DEGREES)
def test_the_series_and_its_gradients(degree: int) -> None:
    coefficients, angles = example(degree)
    expected = results(brute_force, coefficients, angles)
    for ours, theirs in zip(results(series, coefficients, angles), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("degree", DEGREES)
def test_float32_loses_no_more_than_its_rounding(degree: int) -> None:
    coefficients, angles = (t.detach().float().requires_grad_() for t in example(degree))
    exact = [t.detach().double().requires_grad_() for t in (coefficients, angles)]
    got = [t.double() for t in results(series, coefficients, angles)]
    values, to_coefficients, to_angles = results(brute_force, *exact)
    # 2 D + 1 terms with coefficients up to c; cos s and sin s are off by one rounding, harmonic k
    # by at most k of them, and the sum of k over both series is D (D + 1). Powers of cos 2s up to
    # the fourth have coefficients that add up to 41.
    rounding = 2.0**-24
    c = coefficients.detach().abs().max().item()
    limit = c * (degree * (degree + 1) + 41 * (2 * degree + 1)) * rounding
    torch.testing.assert_close(got[0], values, atol=limit, rtol=0)
    torch.testing.assert_close(got[2], to_angles, atol=1.3 * limit * max(1, degree), rtol=0)
    limit_of_sums = 1.3 * limit / c * angles.numel()
    torch.testing.assert_close(got[1], to_coefficients, atol=limit_of_sums, rtol=0)


@pytest.mark.parametrize("degree", [0, 1, 8, 9, 40])
def test_the_derivative_is_a_series(degree: int) -> None:
    coefficients, angles = example(degree)
    (slopes,) = torch.autograd.grad(brute_force(coefficients, angles).sum(), angles)
    derived = brute_force(FourierForm.derivative(coefficients.detach()), angles.detach())
    torch.testing.assert_close(derived, slopes, atol=1e-10, rtol=0)


@pytest.mark.parametrize("frequency", [1.0, 0.5])
@pytest.mark.parametrize("degree", [0, 1, 8, 40])
def test_samples_give_the_coefficients_back(degree: int, frequency: float) -> None:
    coefficients, _ = example(degree)
    form = FourierForm(degree, frequency)
    points = form.points(coefficients)
    assert points.shape == (form.n_samples,) == (2 * degree + 1,)
    assert points.max() < 2 * math.pi / frequency
    samples = brute_force(coefficients, (frequency * points).expand(1, 2, -1))[0]
    torch.testing.assert_close(form.coefficients(samples), coefficients, atol=1e-12, rtol=0)


@pytest.mark.parametrize("readout", [ExpvalZ(), Probabilities(), RealAmplitudes()], ids=repr)
def test_it_is_the_circuit(readout: ExpvalZ) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2, frequencies=(1, 2, -1)), readout)
    form = FourierForm.of(circuit)
    assert (form.degree, form.frequency) == (8, 1.0 if readout.diagonal else 0.5)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(circuit.weight_shape, dtype=torch.float64, generator=generator)
    samples = evaluate(circuit, form.points(weights)[:, None], weights)
    s = torch.linspace(-20, 20, 50, dtype=torch.float64)
    angles = (form.frequency * s).expand(1, circuit.n_outputs, -1)
    ours = series(form.coefficients(samples.t()), angles)[0].t()
    torch.testing.assert_close(ours, evaluate(circuit, s[:, None], weights), atol=1e-10, rtol=0)


def test_no_form_is_a_named_refusal() -> None:
    with pytest.raises(UnsupportedEncoding, match="method='per_score'"):
        FourierForm.of(Circuit(RyRzCnot(n_qubits=2, frequencies=(1, 0.3))))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    coefficients, angles = (t.detach() for t in example(8))
    values = series(coefficients.float(), angles.to(dtype))
    assert values.dtype == dtype
    exact = brute_force(coefficients, angles.to(dtype).double())
    one_rounding = torch.finfo(dtype).eps  # at the end
    torch.testing.assert_close(values.double(), exact, atol=1e-4, rtol=one_rounding)


@pytest.mark.parametrize(
    ("coefficients", "angles", "message"),
    [
        (torch.zeros(2, 4), torch.zeros(1, 2, 3), "coefficients=.*2 \\* degree"),
        (torch.zeros(5), torch.zeros(1, 1, 3), "coefficients="),
        (torch.zeros(2, 5), torch.zeros(1, 3, 3), r"angles=\(1, 3, 3\).*\(batch, 2"),
        (torch.zeros(2, 5), torch.zeros(2), "angles="),
    ],
)
def test_bad_shapes_are_named(coefficients: Tensor, angles: Tensor, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        series(coefficients, angles)


def test_a_first_use_in_inference_mode_leaves_training_possible() -> None:
    _matrices.cache_clear()
    _to_polynomials.cache_clear()
    coefficients, angles = example(3)
    with torch.inference_mode():
        FourierForm(3).coefficients(coefficients)
    FourierForm(3).coefficients(coefficients).sum().backward()
    results(series, coefficients, angles)


def test_an_empty_tensor_has_an_empty_series() -> None:
    coefficients, _ = example(8)
    empty = torch.zeros(0, 2, 3, dtype=torch.float64, requires_grad=True)
    values, to_coefficients, _ = results(series, coefficients, empty)
    assert values.shape == (0, 2, 3)
    assert not to_coefficients.any()


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("towards", [0, 1])
def test_a_second_derivative_is_refused(power: int, towards: int) -> None:
    tensors = example(3)
    once = torch.autograd.grad(series(*tensors).pow(power).sum(), tensors, create_graph=True)
    plain = torch.autograd.grad(series(*tensors).pow(power).sum(), tensors)
    for ours, theirs in zip(once, plain, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, atol=0, rtol=0)
    with pytest.raises(NotDifferentiable, match=r"second derivatives.*per_score.*default\.qubit"):
        once[towards].sum().backward()
