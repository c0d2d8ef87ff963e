"""A program prepared for a dtype and a device: its angles as matrices, its constants as tensors."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from hybridq.circuits import Angle, Circuit
from hybridq.engine.program import Instruction, Phase, Rotate, compile_circuit

__all__ = ["Angles", "PermuteStep", "PhaseStep", "Plan", "RotateStep", "make_plan"]

_LARGEST_FLIP = 2**12  # entries of the index that flips every wire
_LARGEST_SIGN_MATRIX = 2**20  # entries; above, signs are made anew for each mask


class RotateStep:
    """A layer of rotations, those first whose angles differ from lane to lane.

    Args:
        wires: The wire of each rotation.
        lanes: The rows of the first rotations' half angles, among the rows that differ from lane to
            lane.
        shared: The rows of the other rotations' half angles, among the rows that all lanes share.
        n_qubits: Number of qubits n.
        like: A tensor of the plan's dtype and device.
    """

    def __init__(
        self, wires: list[int], lanes: slice, shared: slice, n_qubits: int, like: Tensor
    ) -> None:
        self.lanes, self.shared = lanes, shared
        self.n_lane_wires = lanes.stop - lanes.start
        rows = [(True, i) for i in range(lanes.start, lanes.stop)] + [
            (False, i) for i in range(shared.start, shared.stop)
        ]
        self.wires = list(zip(wires, rows, strict=True))
        # G on each wire: (G psi)_k = sign_k psi_(k with that bit flipped), for all wires one after
        # the other.
        self.flipped: Tensor | None = None
        if wires and 2**n_qubits * len(wires) <= _LARGEST_FLIP:
            states = torch.arange(2**n_qubits, device=like.device)
            masks = [1 << (n_qubits - 1 - wire) for wire in wires]
            self.flipped = torch.cat([states ^ mask for mask in masks])  # (wires * 2**n,)
            self.signs = torch.cat([(states & mask > 0).to(like.dtype) * 2 - 1 for mask in masks])[
                :, None
            ]

    def set_gradient(self, angles: "Angles", gradient: Tensor) -> None:
        """Write the gradients of the half angles, given for each lane: shape (wires, lanes)."""
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
    """A diagonal: a bit mask and an angle for each term, those terms first whose angles differ from lane to lane.

    Args:
        masks: The bit mask of each term.
        lanes: The rows of the first terms' angles, among the rows that differ from lane to lane.
        shared: The rows of the other terms' angles, among the rows that all lanes share.
        n_qubits: Number of qubits n.
        like: A tensor of the plan's dtype and device.
    """

    def __init__(
        self, masks: list[int], lanes: slice, shared: slice, n_qubits: int, like: Tensor
    ) -> None:
        self.masks, self.lanes, self.shared, self.n_qubits, self.like = (
            masks,
            lanes,
            shared,
            n_qubits,
            like,
        )
        self.n_lane_terms = lanes.stop - lanes.start
        small = 2**n_qubits * len(masks) <= _LARGEST_SIGN_MATRIX
        self.signs = (
            torch.stack([self._sign(mask) for mask in masks], 1) if small else None
        )  # (2**n, terms)

    def phasor(self, angles: "Angles") -> tuple[Tensor, Tensor]:
        """Cos and sin of the phases, each of shape (2**n, lanes), or (2**n, 1) if all lanes share them."""
        values = angles.shared[self.shared]  # (terms, 1)
        if self.n_lane_terms:
            own = angles.lanes[self.lanes]  # (terms, lanes)
            values = torch.cat((own, values.expand(-1, own.shape[1]))) if len(values) else own
        if self.signs is not None:
            phases = self.signs @ values
        else:
            phases = self.like.new_zeros((2**self.n_qubits, values.shape[1]))
            for mask, value in zip(self.masks, values, strict=True):
                phases.addcmul_(self._sign(mask)[:, None], value)
        return phases.cos(), phases.sin_()

    def add_gradient(self, angles: "Angles", gradient: Tensor) -> None:
        """Write the gradient of each term, from dL/dphi_k of shape (2**n, lanes)."""
        if not self.n_lane_terms:
            gradient = gradient.sum(1, keepdim=True)
        if self.signs is not None:
            terms = self.signs.t() @ gradient
        else:
            terms = torch.stack([self._sign(mask) @ gradient for mask in self.masks])
        angles.lane_gradient[self.lanes] = terms[: self.n_lane_terms]
        angles.shared_gradient[self.shared] = terms[self.n_lane_terms :].sum(1, keepdim=True)

    def _sign(self, mask: int) -> Tensor:
        """(-1)^parity(k & mask) for k = 0..2**n-1, by doubling."""
        sign = self.like.new_ones(1)
        for bit in range(self.n_qubits):
            sign = torch.cat((sign, -sign if mask >> bit & 1 else sign))
        return sign


Step = RotateStep | PhaseStep | PermuteStep


class Plan:
    """A program's steps, with the affine map from inputs x and weights w to its angles.

    The angles are split in two: rows that differ from lane to lane, and rows that all lanes share.
    Rotations are stored as half angles.

    Args:
        circuit: The circuit.
        own_weights: Whether every lane has weights of its own.
        like: A tensor of the wanted dtype and device.
    """

    def __init__(self, circuit: Circuit, *, own_weights: bool, like: Tensor) -> None:
        program = compile_circuit(circuit)
        rows = _Rows(own_weights=own_weights)
        self.n_qubits = program.n_qubits
        self.start = rows.rotate(program.start, program.n_qubits, like)
        self.steps = [_step(step, rows, program.n_qubits, like) for step in program.instructions]
        rotations = [step for step in (self.start, *self.steps) if isinstance(step, RotateStep)]
        self.has_shared_rotations = any(step.n_lane_wires < len(step.wires) for step in rotations)
        # The first diagonal makes a real state complex.
        self.first_phase = next((step for step in self.steps if isinstance(step, PhaseStep)), None)
        self.last = (
            None
            if program.last is None
            else PermuteStep(torch.from_numpy(program.last).to(like.device))
        )
        self.zero_state = like.new_tensor([[1.0], [0.0]])
        self.inputs_to_lanes, self.weights_to_lanes, self.lane_offset = _affine(
            rows.lanes, circuit, like
        )
        _, self.weights_to_shared, self.shared_offset = _affine(rows.shared, circuit, like)


class _Rows:
    """Gives each angle of a program a row, among those that differ from lane to lane or among those that are shared."""

    def __init__(self, *, own_weights: bool) -> None:
        self.own_weights = own_weights
        self.lanes: list[Angle] = []
        self.shared: list[Angle] = []

    def differs(self, angle: Angle) -> bool:
        return any(kind == "x" or self.own_weights for kind, _ in angle.terms)

    def place(self, angles: dict[int, Angle]) -> tuple[list[int], slice, slice]:
        """Give angles rows: their keys, those first that differ from lane to lane, and the two ranges of rows."""
        lanes = {key: angle for key, angle in angles.items() if self.differs(angle)}
        shared = {key: angle for key, angle in angles.items() if not self.differs(angle)}
        lane_rows = slice(len(self.lanes), len(self.lanes) + len(lanes))
        shared_rows = slice(len(self.shared), len(self.shared) + len(shared))
        self.lanes += lanes.values()
        self.shared += shared.values()
        return [*lanes, *shared], lane_rows, shared_rows

    def rotate(self, step: Rotate, n_qubits: int, like: Tensor) -> RotateStep:
        halves = {wire: angle * 0.5 for wire, angle in step.angles.items()}
        return RotateStep(*self.place(halves), n_qubits, like)


def _step(step: Instruction, rows: _Rows, n_qubits: int, like: Tensor) -> Step:
    if isinstance(step, Rotate):
        return rows.rotate(step, n_qubits, like)
    if isinstance(step, Phase):
        return PhaseStep(*rows.place(step.angles), n_qubits, like)
    return PermuteStep(torch.from_numpy(step.index).to(like.device))


def _affine(angles: list[Angle], circuit: Circuit, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The matrices (rows, n_inputs) and (rows, n_weights) and the constants (rows, 1)."""
    from_inputs = like.new_zeros((len(angles), circuit.n_inputs))
    from_weights = like.new_zeros((len(angles), math.prod(circuit.weight_shape)))
    constants = like.new_tensor([angle.constant for angle in angles])[:, None]
    for row, angle in enumerate(angles):
        for (kind, index), factor in angle.terms.items():
            (from_inputs if kind == "x" else from_weights)[row, index] = factor
    return from_inputs, from_weights, constants


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def make_plan(
    circuit: Circuit, own_weights: bool, dtype: torch.dtype, device: torch.device
) -> Plan:
    """Prepare a circuit's program; made once for each combination of the arguments."""
    return Plan(circuit, own_weights=own_weights, like=torch.empty(0, dtype=dtype, device=device))


class Angles:
    """The angles of one chunk of lanes, and their gradients.

    Args:
        plan: The plan that names the rows.
        inputs: Shape (lanes, n_inputs).
        weights: Shape (n_weights,), or (lanes, n_weights) if every lane has its own.
    """

    def __init__(self, plan: Plan, inputs: Tensor, weights: Tensor) -> None:
        columns = weights.t() if weights.ndim == 2 else weights[:, None]  # (n_weights, lanes or 1)
        self.lanes = torch.addmm(
            plan.lane_offset, plan.inputs_to_lanes, inputs.t()
        )  # (rows, lanes)
        self.lanes += plan.weights_to_lanes @ columns
        self.shared = plan.shared_offset
        if weights.ndim == 1:
            self.shared = self.shared + plan.weights_to_shared @ columns  # (rows, 1)
        self._cos = {True: self.lanes.cos().unbind()}
        self._sin = {True: self.lanes.sin().unbind()}
        if plan.has_shared_rotations:
            self._cos[False], self._sin[False] = (
                self.shared.cos().unbind(),
                self.shared.sin().unbind(),
            )
        self.lane_gradient = self.lanes.new_empty(0)
        self.shared_gradient = self.lanes.new_empty(0)

    def cos_sin(self, row: tuple[bool, int]) -> tuple[Tensor, Tensor]:
        """Cos and sin of a rotation's half angle, each of shape (lanes,) or (1,)."""
        own, index = row
        return self._cos[own][index], self._sin[own][index]

    def zero_gradient(self) -> None:
        """Make room for the gradients."""
        self.lane_gradient = torch.zeros_like(self.lanes)
        self.shared_gradient = torch.zeros_like(self.shared)
