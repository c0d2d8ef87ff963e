"""From final states to outputs, and from gradients of outputs to cotangents of states."""

from functools import lru_cache

import torch
from torch import Tensor

from hybridq.circuits import AbstractReadout, Circuit
from hybridq.engine.torch_program import TorchProgram

__all__ = ["ReadoutMap", "make_readout_map"]

_LARGEST_MATRIX = 2**16  # entries; above, the readout's own structure is cheaper


class ReadoutMap:
    """The linear map from probabilities (or real amplitudes) to outputs.

    Args:
        readout: The readout, which says what is measured.
        program: The program whose states are read; its last permutation is applied here.
        dtype: The states' dtype.
    """

    def __init__(self, readout: AbstractReadout, program: TorchProgram, dtype: torch.dtype) -> None:
        self.readout = readout
        self.last = program.last
        self.matrix: Tensor | None = None  # (outputs, 2**n)
        n_states = 2**program.n_qubits
        if n_states * readout.n_outputs(program.n_qubits) <= _LARGEST_MATRIX:
            with torch.device("cpu"):  # whatever the default device is
                matrix = readout.matrix(program.n_qubits, dtype).to(program.zero_state.device)
            self.matrix = matrix if self.last is None else matrix[:, self.last.inverse]

    def read(self, state: Tensor) -> Tensor:
        """Return the outputs of final states.

        Args:
            state: Shape (1 or 2, 2**n, lanes): the real parts, and the imaginary ones if there are
                any.

        Returns:
            Shape (outputs, lanes).
        """
        if not self.readout.diagonal:
            return self._map(state[0])
        probabilities = torch.mul(state[0], state[0])
        if len(state) == 2:
            probabilities.addcmul_(state[1], state[1])
        return self._map(probabilities)

    def cotangent(self, state: Tensor, gradient: Tensor) -> Tensor:
        """Return dL/d(state).

        Args:
            state: As `read`.
            gradient: dL/d(outputs), shape (outputs, lanes).

        Returns:
            The shape of `state`.
        """
        back = self._adjoint(gradient, state)  # (2**n, lanes)
        if self.readout.diagonal:
            return state * back.mul_(2)
        result = torch.zeros_like(state)
        result[0] = back
        return result

    def _map(self, values: Tensor) -> Tensor:
        if self.matrix is not None:
            return self.matrix @ values
        if self.last is not None:
            values = values[self.last.index]
        return self.readout.select(values, 0)

    def _adjoint(self, gradient: Tensor, state: Tensor) -> Tensor:
        if self.matrix is not None:
            return self.matrix.t() @ gradient
        with torch.enable_grad():
            # The map is linear: its adjoint is the same wherever autograd takes it.
            origin = torch.zeros_like(state[0]).requires_grad_()
            return torch.autograd.grad(self._map(origin), origin, gradient)[0].clone()


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def make_readout_map(circuit: Circuit, program: TorchProgram, dtype: torch.dtype) -> ReadoutMap:
    """Make the map of a circuit's readout; made once for each program.

    Args:
        circuit: The circuit.
        program: The circuit's program, prepared for a dtype and a device.
        dtype: The states' dtype.

    Returns:
        The map.
    """
    return ReadoutMap(circuit.readout, program, dtype)
