"""The trainable angles of the circuits of one layer."""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from hybridq.circuits import Circuit
from hybridq.engine import compile_circuit
from hybridq.engine.program import Permute
from hybridq.errors import NonAffineAngle

__all__ = ["CircuitWeights", "live_weights"]


def live_weights(circuit: Circuit) -> list[int]:
    """Return the flat indices of the weights that can change the readout at all.

    The RZ angles of the last layer, for example, have exactly zero gradient under a readout of
    probabilities (SPEC A11).

    Args:
        circuit: The circuit.

    Returns:
        The indices, ascending; all of them for a circuit that cannot be traced.
    """
    try:
        program = compile_circuit(circuit)
    except NonAffineAngle:
        return list(range(math.prod(circuit.weight_shape)))
    live = set()
    for step in (program.start, *program.instructions):
        if isinstance(step, Permute):
            continue
        for angle in step.angles.values():
            live |= {index for kind, index in angle.terms if kind == "w"}
    return sorted(live)


class CircuitWeights(nn.Module):
    """Sets of circuit angles with a linear readout each: one set per head, or one for all heads.

    Angles that cannot change the output are kept as the buffer `frozen`, so that the circuit is
    complete on every backend while optimizers and distributed training see only angles that learn
    (SPEC A11).

    Args:
        circuit: The circuit.
        n_sets: Number of sets.
        std: The angles start as N(0, std^2), in radians (SPEC A13).
    """

    def __init__(self, circuit: Circuit, n_sets: int, std: float) -> None:
        super().__init__()
        self.circuit = circuit
        self.n_sets = n_sets
        self.std = std
        n_weights = math.prod(circuit.weight_shape)
        self._live = tuple(live_weights(circuit))
        self._dead = tuple(i for i in range(n_weights) if i not in set(self._live))
        self.angles = nn.Parameter(torch.empty(n_sets, len(self._live)))
        self.readout = nn.Parameter(torch.empty(n_sets, circuit.n_outputs))
        self.register_buffer("frozen", torch.empty(n_sets, len(self._dead)))
        self.frozen: Tensor
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the angles anew, and set the readout back.

        The readout averages <Z>, or sums probabilities or amplitudes (SPEC A8). Random numbers come
        from torch's global generator.
        """
        nn.init.normal_(self.angles, std=self.std)
        nn.init.normal_(self.frozen, std=self.std)
        weight = 1 / self.circuit.n_outputs if self.circuit.readout.averaged else 1.0
        nn.init.constant_(self.readout, weight)

    def weights(self) -> Tensor:
        """Return all angles, the frozen ones too.

        Returns:
            Shape (n_sets, *weight_shape), radians. The dtype is float32 at least, whatever the
            module's dtype is.
        """
        angles: Tensor = self.angles
        if angles.dtype not in (torch.float32, torch.float64):
            angles = angles.float()
        frozen = self.frozen.to(angles.dtype)
        if torch.compiler.is_compiling():  # dynamo traces no cached constants
            place = self._live + self._dead
            order = sorted(range(len(place)), key=place.__getitem__)
            flat = torch.cat((angles, frozen), 1)[:, order]
        else:
            device = angles.device
            flat = frozen.new_empty((self.n_sets, len(self._live) + len(self._dead)))
            flat.index_copy_(1, _columns(self._dead, device), frozen)
            flat = flat.index_copy(1, _columns(self._live, device), angles)
        return flat.view(self.n_sets, *self.circuit.weight_shape)

    def extra_repr(self) -> str:
        """Return the circuit and the number of sets, for `repr`."""
        return f"{self.circuit}, n_sets={self.n_sets}"


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def _columns(indices: tuple[int, ...], device: torch.device) -> Tensor:
    """Return indices as a tensor, which is no buffer, so that `to_empty` does not lose it."""
    return torch.tensor(indices, dtype=torch.long, device=device)
