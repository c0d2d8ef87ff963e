"""A circuit's program prepared for torch, for one dtype and device.

The engine runs many points of a batch side by side; each of them is a lane. Some angles differ from
lane to lane, others are the same in all lanes, and the two kinds are computed apart.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from hybridq.circuits import Angle, Circuit
from hybridq.engine.program import Instruction, Phase, Rotate, compile_circuit

__all__ = [
    "AffineMap",
    "Angles",
    "PermuteStep",
    "PhaseStep",
    "RotateStep",
    "Row",
    "TorchProgram",
    "prepare_program",
]

_LARGEST_FLIP = 2**12  # entries of the index that flips every wire
_LARGEST_SIGN_MATRIX = 2**20  # entries; above, signs are made anew for each mask


class Row(NamedTuple):
    """The row of one angle.

    Args:
        per_lane: Whether it is among the rows that differ from lane to lane, or among those that
            all lanes share.
        number: Its number among these.
    """

    per_lane: bool
    number: int


@dataclass(frozen=True)
class _StepRows:
    """The rows of the angles of one step.

    Args:
        keys: The wire or the bit mask of each angle; those whose angles differ from lane to lane
            come first.
        lanes: The rows of the first angles, among the rows that differ from lane to lane.
        shared: The rows of the other angles, among the rows that all lanes share.
    """

    keys: list[int]
    lanes: slice
    shared: slice

    @property
    def n_lane_angles(self) -> int:
        """The number of angles that differ from lane to lane."""
        n: int = self.lanes.stop - self.lanes.start
        return n

    def each(self) -> list[Row]:
        """Return the row of each angle, in the order of `keys`."""
        lanes = [Row(True, number) for number in range(self.lanes.start, self.lanes.stop)]
        shared = [Row(False, number) for number in range(self.shared.start, self.shared.stop)]
        return lanes + shared


class RotateStep:
    """A layer of rotations; those whose angles differ from lane to lane come first.

    Args:
        rows: The wires, and the rows of their half angles.
        n_qubits: Number of qubits n.
        like: A tensor of the program's dtype and device.
    """

    def __init__(self, rows: _StepRows, n_qubits: int, like: Tensor) -> None:
        self.lanes = rows.lanes
        self.shared = rows.shared
        self.n_lane_wires = rows.n_lane_angles
        self.wires = list(zip(rows.keys, rows.each(), strict=True))
        # The generator G of a wire is (G psi)_k = sign_k psi_(k with the bit of this wire flipped).
        # For a small state the indices and signs of all wires are kept, one wire after the other.
        self.flipped: Tensor | None = None
        if rows.keys and 2**n_qubits * len(rows.keys) <= _LARGEST_FLIP:
            states = torch.arange(2**n_qubits, device=like.device)
            masks = [1 << (n_qubits - 1 - wire) for wire in rows.keys]
            signs = [(states & mask > 0).to(like.dtype) * 2 - 1 for mask in masks]
            self.flipped = torch.cat([states ^ mask for mask in masks])  # (wires * 2**n,)
            self.signs = torch.cat(signs)[:, None]

    def set_gradient(self, angles: "Angles", gradient: Tensor) -> None:
        """Write the gradients of the half angles.

        Args:
            angles: The angles whose gradients are written.
            gradient: The gradient of each half angle in each lane, shape (wires, lanes).
        """
        n = self.n_lane_wires
        if n:
            angles.lane_gradient[self.lanes] = gradient[:n]
        if n < len(self.wires):
            angles.shared_gradient[self.shared] = gradient[n:].sum(1, keepdim=True)


class PermuteStep:
    """A permutation of the amplitudes and its inverse, each of shape (2**n,)."""

    def __init__(self, index: Tensor) -> None:
        self.index = index
        self.inverse = torch.argsort(index)


class PhaseStep:
    """A diagonal, with a bit mask and an angle for each term.

    Terms whose angles differ from lane to lane come first.

    Args:
        rows: The bit masks, and the rows of their angles.
        n_qubits: Number of qubits n.
        like: A tensor of the program's dtype and device.
    """

    def __init__(self, rows: _StepRows, n_qubits: int, like: Tensor) -> None:
        self.masks = rows.keys
        self.lanes = rows.lanes
        self.shared = rows.shared
        self.n_lane_terms = rows.n_lane_angles
        self.n_qubits = n_qubits
        self.like = like
        self.signs: Tensor | None = None
        if 2**n_qubits * len(self.masks) <= _LARGEST_SIGN_MATRIX:
            signs = [self._sign(mask) for mask in self.masks]
            self.signs = torch.stack(signs, 1)  # (2**n, terms)

    def phasor(self, angles: "Angles") -> tuple[Tensor, Tensor]:
        """Return cos and sin of the phases.

        Args:
            angles: The angles of a chunk of lanes.

        Returns:
            Both of shape (2**n, lanes), or (2**n, 1) if all lanes share the phases.
        """
        values = angles.shared[self.shared]  # (terms, 1)
        if self.n_lane_terms:
            per_lane = angles.lanes[self.lanes]  # (terms, lanes)
            if len(values):
                shared = values.expand(-1, per_lane.shape[1])
                values = torch.cat((per_lane, shared))
            else:
                values = per_lane
        if self.signs is not None:
            phases = self.signs @ values
        else:
            phases = self.like.new_zeros((2**self.n_qubits, values.shape[1]))
            for mask, value in zip(self.masks, values, strict=True):
                phases.addcmul_(self._sign(mask)[:, None], value)
        return phases.cos(), phases.sin_()

    def set_gradient(self, angles: "Angles", gradient: Tensor) -> None:
        """Write the gradient of each term.

        Args:
            angles: The angles whose gradients are written.
            gradient: dL/d(phi_k) of each phase, shape (2**n, lanes).
        """
        if not self.n_lane_terms:
            gradient = gradient.sum(1, keepdim=True)
        if self.signs is not None:
            terms = self.signs.t() @ gradient
        else:
            terms = torch.stack([self._sign(mask) @ gradient for mask in self.masks])
        angles.lane_gradient[self.lanes] = terms[: self.n_lane_terms]
        angles.shared_gradient[self.shared] = terms[self.n_lane_terms :].sum(1, keepdim=True)

    def _sign(self, mask: int) -> Tensor:
        """Return (-1)^parity(k & mask) for k = 0 to 2**n - 1, made by doubling."""
        sign = self.like.new_ones(1)
        for bit in range(self.n_qubits):
            sign = torch.cat((sign, -sign if mask >> bit & 1 else sign))
        return sign


Step = RotateStep | PhaseStep | PermuteStep


@dataclass(frozen=True, eq=False)
class AffineMap:
    """The affine map from inputs x and weights w to angles.

    The angles are from_inputs x + from_weights w + offset.

    Args:
        from_inputs: Shape (rows, n_inputs).
        from_weights: Shape (rows, n_weights).
        offset: Shape (rows, 1), radians.
    """

    from_inputs: Tensor
    from_weights: Tensor
    offset: Tensor


class TorchProgram:
    """A program's steps, with the affine maps from inputs and weights to its angles.

    There are two maps: one for the rows that differ from lane to lane, and one for the rows that
    all lanes share. Rotations are stored as half angles.

    Args:
        circuit: The circuit.
        weights_per_lane: Whether every lane has its own weights.
        like: A tensor of the wanted dtype and device.
    """

    def __init__(self, circuit: Circuit, *, weights_per_lane: bool, like: Tensor) -> None:
        program = compile_circuit(circuit)
        rows = _Rows(weights_per_lane=weights_per_lane)
        self.n_qubits = program.n_qubits
        self.start = rows.rotate(program.start, program.n_qubits, like)
        self.steps = [_step(step, rows, program.n_qubits, like) for step in program.instructions]
        rotations = [step for step in (self.start, *self.steps) if isinstance(step, RotateStep)]
        self.has_shared_rotations = any(step.n_lane_wires < len(step.wires) for step in rotations)
        # The first diagonal makes a real state complex.
        self.first_phase = next((step for step in self.steps if isinstance(step, PhaseStep)), None)
        self.last: PermuteStep | None = None
        if program.last is not None:
            self.last = PermuteStep(torch.from_numpy(program.last).to(like.device))
        self.zero_state = like.new_tensor([[1.0], [0.0]])
        self.lane_angles = _affine_map(rows.lanes, circuit, like)
        self.shared_angles = _affine_map(rows.shared, circuit, like)


class _Rows:
    """Gives each angle of a program a row, per lane or shared."""

    def __init__(self, *, weights_per_lane: bool) -> None:
        self.weights_per_lane = weights_per_lane
        self.lanes: list[Angle] = []
        self.shared: list[Angle] = []

    def differs(self, angle: Angle) -> bool:
        return any(kind == "x" or self.weights_per_lane for kind, _ in angle.terms)

    def place(self, angles: dict[int, Angle]) -> _StepRows:
        """Give the angles of a step their rows."""
        lanes = {key: angle for key, angle in angles.items() if self.differs(angle)}
        shared = {key: angle for key, angle in angles.items() if not self.differs(angle)}
        lane_rows = slice(len(self.lanes), len(self.lanes) + len(lanes))
        shared_rows = slice(len(self.shared), len(self.shared) + len(shared))
        self.lanes += lanes.values()
        self.shared += shared.values()
        return _StepRows([*lanes, *shared], lane_rows, shared_rows)

    def rotate(self, step: Rotate, n_qubits: int, like: Tensor) -> RotateStep:
        halves = {wire: angle * 0.5 for wire, angle in step.angles.items()}
        return RotateStep(self.place(halves), n_qubits, like)


def _step(step: Instruction, rows: _Rows, n_qubits: int, like: Tensor) -> Step:
    if isinstance(step, Rotate):
        return rows.rotate(step, n_qubits, like)
    if isinstance(step, Phase):
        return PhaseStep(rows.place(step.angles), n_qubits, like)
    return PermuteStep(torch.from_numpy(step.index).to(like.device))


def _affine_map(angles: list[Angle], circuit: Circuit, like: Tensor) -> AffineMap:
    from_inputs = like.new_zeros((len(angles), circuit.n_inputs))
    from_weights = like.new_zeros((len(angles), math.prod(circuit.weight_shape)))
    offset = like.new_tensor([angle.constant for angle in angles])[:, None]
    for row, angle in enumerate(angles):
        for (kind, index), factor in angle.terms.items():
            matrix = from_inputs if kind == "x" else from_weights
            matrix[row, index] = factor
    return AffineMap(from_inputs, from_weights, offset)


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def prepare_program(
    circuit: Circuit, weights_per_lane: bool, dtype: torch.dtype, device: torch.device
) -> TorchProgram:
    """Prepare a circuit's program; made once for each combination of the arguments.

    Args:
        circuit: The circuit.
        weights_per_lane: Whether every lane has its own weights.
        dtype: The dtype of inputs, weights and states.
        device: Where the states are.

    Returns:
        The program.
    """
    like = torch.empty(0, dtype=dtype, device=device)
    return TorchProgram(circuit, weights_per_lane=weights_per_lane, like=like)


class Angles:
    """The angles of one chunk of lanes, and their gradients.

    Args:
        program: The program that names the rows.
        inputs: Shape (lanes, n_inputs).
        weights: Shape (n_weights,), or (lanes, n_weights) if every lane has its own.
    """

    def __init__(self, program: TorchProgram, inputs: Tensor, weights: Tensor) -> None:
        per_lane = program.lane_angles
        shared = program.shared_angles
        columns = weights.t() if weights.ndim == 2 else weights[:, None]  # (n_weights, lanes or 1)
        # (rows, lanes)
        self.lanes = torch.addmm(per_lane.offset, per_lane.from_inputs, inputs.t())
        self.lanes += per_lane.from_weights @ columns
        self.shared = shared.offset
        if weights.ndim == 1:
            self.shared = self.shared + shared.from_weights @ columns  # (rows, 1)
        self._lane_cos = self.lanes.cos().unbind()
        self._lane_sin = self.lanes.sin().unbind()
        if program.has_shared_rotations:
            self._shared_cos = self.shared.cos().unbind()
            self._shared_sin = self.shared.sin().unbind()
        self.lane_gradient = self.lanes.new_empty(0)
        self.shared_gradient = self.lanes.new_empty(0)

    def cos_sin(self, row: Row) -> tuple[Tensor, Tensor]:
        """Return cos and sin of a rotation's half angle, each of shape (lanes,) or (1,)."""
        if row.per_lane:
            return self._lane_cos[row.number], self._lane_sin[row.number]
        return self._shared_cos[row.number], self._shared_sin[row.number]

    def zero_gradient(self) -> None:
        """Make room for the gradients."""
        self.lane_gradient = torch.zeros_like(self.lanes)
        self.shared_gradient = torch.zeros_like(self.shared)
