"""Three training steps of the attention layer on the `ibm` backend.

Each step is one job, and its loss lies within its error bars.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from hybridq.backends import AbstractBackend, resolve
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.layers import FourierForm, QuantumAttention, QuantumOptions, circuits_given
from hybridq.layers.shot_noise import sample_phi
from tests.layers._layers import make, tokens

pytest.importorskip("qiskit_ibm_runtime")
pytest.importorskip("qiskit_aer")


@dataclass
class Task:
    """Fit a fixed output from fixed tokens."""

    circuit: Circuit

    def layer(self, backend: AbstractBackend) -> QuantumAttention:
        options = QuantumOptions(self.circuit, angle_std=1.0)
        return make(embed_dim=4, num_heads=1, options=options, backend=backend)

    def loss(self, layer: QuantumAttention) -> Tensor:
        x = tokens(2, 5, 4).detach()
        output, _ = layer(x, x, x, need_weights=False)
        return (output - tokens(2, 5, 4, seed=2).detach()).square().mean()

    def expected(
        self, layer: QuantumAttention, exact: AbstractBackend, noisy: AbstractBackend
    ) -> tuple[float, float]:
        """The loss without shots at a layer's weights, and its standard error with shots.

        The error is of first order in the errors of the samples.
        """
        weights = layer.circuit_weights.weights()[0].detach()
        readout = layer.circuit_weights.readout[0].detach()
        samples, _ = sample_phi(self.circuit, exact, weights, readout)
        _, errors = sample_phi(self.circuit, noisy, weights, readout)
        samples.requires_grad_()
        form = FourierForm.of(self.circuit)
        coefficients = form.coefficients(samples * layer.gate.detach())[None]
        with circuits_given({layer.score: [coefficients]}):
            loss = self.loss(layer)
        (slope,) = torch.autograd.grad(loss, samples)
        return loss.item(), (slope * errors).square().sum().sqrt().item()


@pytest.mark.parametrize(
    ("name", "exact", "circuit"),
    [
        ("ibm:aer_simulator,shots=1024", "statevector", RyRzCnot(n_qubits=2, n_layers=2)),
        pytest.param(
            "ibm:fake_torino,shots=1024",
            "aer:noise=fake_torino",
            RyRzCnot(4, 2),
            marks=pytest.mark.slow,
        ),
        # The device's own noise moves the loss by less than these shots do.
        pytest.param(
            "ibm:fake_torino,shots=1024", "statevector", RyRzCnot(4, 2), marks=pytest.mark.slow
        ),
    ],
)
def test_three_steps(name: str, exact: str, circuit: RyRzCnot) -> None:
    task = Task(Circuit(circuit))
    backend = resolve(name)
    # The error bars need circuits too, which must not count as jobs of the backend under test.
    other: Any = resolve(f"{name},seed=1")
    device: Any = backend
    layer = task.layer(backend)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    losses = []
    for step in range(3):
        optimizer.zero_grad()
        loss = task.loss(layer)
        loss.backward()  # type: ignore[no-untyped-call]
        assert device.jobs_run == step + 1, "one job a step, its gradient included"
        expected, error = task.expected(layer, resolve(exact), other)
        assert abs(loss.item() - expected) < 5 * error
        assert 0 < error < 0.05 * expected, "the bars say something"
        losses.append(loss.item())
        optimizer.step()
    assert losses[2] < losses[1] < losses[0]
    n_samples = FourierForm.of(task.circuit).n_samples
    n_angles = 2 * circuit.n_qubits * circuit.n_layers
    if "fake" not in name:
        n_angles -= circuit.n_qubits  # without noise the last RZ change nothing
    assert device.n_circuits_run == 3 * n_samples * (1 + 2 * n_angles)
    assert device.transpilations == 1
