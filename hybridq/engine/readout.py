"""From final states to outputs, and from gradients of outputs to cotangents of states."""

from functools import lru_cache

import torch
from torch import Tensor

from hybridq.circuits import AbstractReadout, Circuit
from hybridq.engine.plan import Plan

__all__ = ["Readout", "make_readout"]

_LARGEST_MATRIX = 2**16  # entries; above, the readout's own structure is cheaper


class Readout:
    """The linear map from probabilities (or real amplitudes) to outputs.

    Args:
        readout: What is measured.
        plan: The plan whose states are read; its last permutation is applied here.
        dtype: The states' dtype.
    """

    def __init__(self, readout: AbstractReadout, plan: Plan, dtype: torch.dtype) -> None:
        self.readout, self.plan = readout, plan
        n_states = 2**plan.n_qubits
        self.matrix: Tensor | None = None
        if n_states * readout.n_outputs(plan.n_qubits) <= _LARGEST_MATRIX:
            with torch.device("cpu"):  # whatever the default device is
                matrix = readout.matrix(plan.n_qubits, dtype).to(plan.zero_state.device)
            self.matrix = (
                matrix if plan.last is None else matrix[:, plan.last.inverse]
            )  # (outputs, 2**n)

    def read(self, state: Tensor) -> Tensor:
        """Outputs of shape (outputs, lanes), from a state of shape (1 or 2, 2**n, lanes)."""
        if not self.readout.diagonal:
            return self._map(state[0])
        probabilities = torch.mul(state[0], state[0])
        if len(state) == 2:
            probabilities.addcmul_(state[1], state[1])
        return self._map(probabilities)

    def cotangent(self, state: Tensor, gradient: Tensor) -> Tensor:
        """dL/d(state), from dL/d(outputs) of shape (outputs, lanes)."""
        back = self._adjoint(gradient, state)  # (2**n, lanes)
        if self.readout.diagonal:
            return state * back.mul_(2)
        result = torch.zeros_like(state)
        result[0] = back
        return result

    def _map(self, values: Tensor) -> Tensor:
        if self.matrix is not None:
            return self.matrix @ values
        if self.plan.last is not None:
            values = values[self.plan.last.index]
        return self.readout.select(values, 0)

    def _adjoint(self, gradient: Tensor, state: Tensor) -> Tensor:
        if self.matrix is not None:
            return self.matrix.t() @ gradient
        with torch.enable_grad():
            anything = torch.zeros_like(state[0]).requires_grad_()
            return torch.autograd.grad(self._map(anything), anything, gradient)[0].clone()


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def make_readout(circuit: Circuit, plan: Plan, dtype: torch.dtype) -> Readout:
    """Prepare a circuit's readout; made once for each plan."""
    return Readout(circuit.readout, plan, dtype)
