"""The first basis states, in the order of PennyLane or of Qiskit: shared by two readouts."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hybridq.circuits.readouts._readout import AbstractReadout
from hybridq.errors import InvalidArgument

__all__ = ["FirstStates"]

BitOrder = Literal["little", "big"]


@dataclass(frozen=True)
class FirstStates(AbstractReadout):
    """A readout of the first basis states (SPEC A9).

    Args:
        count: The number of basis states; 0 means one per qubit.
        order: "little" counts as Qiskit does (wire 0 is the lowest bit), "big" as PennyLane does.

    Raises:
        InvalidArgument: If `count` is negative, or there is no such order.
    """

    count: int = 0
    order: BitOrder = "little"

    def __post_init__(self) -> None:
        if self.order not in ("little", "big"):
            raise InvalidArgument.of("order", self.order, "choose 'little' or 'big'")
        if self.count < 0:
            raise InvalidArgument.of(
                "count", self.count, "give a number of basis states, or 0 for one per qubit"
            )

    def n_outputs(self, n_qubits: int) -> int:
        """Return `count`, but at most 2**n_qubits."""
        return min(self.count or n_qubits, int(2**n_qubits))

    def select(self, amplitudes: Tensor, dim: int) -> Tensor:
        """Pick the entries of the first basis states."""
        n_qubits = (amplitudes.shape[dim] - 1).bit_length()
        indices = torch.tensor(self._indices(n_qubits), device=amplitudes.device)
        return amplitudes.index_select(dim, indices)

    def _indices(self, n_qubits: int) -> list[int]:
        first = range(self.n_outputs(n_qubits))
        if self.order == "big":
            return list(first)
        return [int(format(k, f"0{n_qubits}b")[::-1], 2) for k in first]
