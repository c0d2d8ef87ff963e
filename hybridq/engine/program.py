"""A traced circuit rewritten into the three instructions that the kernel knows.

Every gate is a product of real rotations RY, diagonals and permutations of basis states:

    H = RY(pi/2) Z        RX(t) = RZ(-pi/2) RY(t) RZ(pi/2)        Y = i X Z
    PhaseShift, RZ, S, T, Z and CZ are diagonal

The rewrites, each of which removes passes over the state:

1. The first rotations act on |0...0> and give a real product state.
2. Diagonals that meet become one diagonal. It is kept as phases
   phi_k = sum_m angle_m (-1)^parity(k & m), with one term for each bit mask m.
3. CNOT, X and SWAP that meet become one index permutation.
4. Rotations of different wires with nothing in between form one layer. Their gradients are read off
   together, at the end of the layer.
5. Diagonals just before a readout of probabilities are dropped, and a last permutation moves into
   the readout.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hybridq.circuits import Angle, Circuit, Gate

__all__ = ["Instruction", "Permute", "Phase", "Program", "Rotate", "compile_circuit"]

_HALF_TURN = Angle({}, np.pi)
_QUARTER_TURN = Angle({}, np.pi / 2)


@dataclass(eq=False)
class Rotate:
    """RY on several wires at once; `angles` holds the angle of each wire in radians."""

    angles: dict[int, Angle]


@dataclass(eq=False)
class Phase:
    """Multiply amplitude k by exp(i sum_m angle_m (-1)^parity(k & m)).

    `angles` holds the angle of each bit mask m, in radians.
    """

    angles: dict[int, Angle]


@dataclass(eq=False)
class Permute:
    """Set new[k] = old[index[k]]; `wires` are the wires that this acts on."""

    index: npt.NDArray[np.int64]
    wires: frozenset[int]


Instruction = Rotate | Phase | Permute


@dataclass(eq=False)
class Program:
    """The instructions that a kernel runs on |0...0>.

    Args:
        n_qubits: Number of qubits n.
        start: The first layer of rotations, which makes a product state.
        instructions: The instructions that follow.
        last: The permutation to apply when the amplitudes are read, shape (2**n,), or None.
    """

    n_qubits: int
    start: Rotate
    instructions: list[Instruction]
    last: npt.NDArray[np.int64] | None = field(default=None)


@lru_cache(maxsize=32)
def compile_circuit(circuit: Circuit) -> Program:
    """Compile a circuit into a program.

    Args:
        circuit: The circuit.

    Returns:
        The program; compiled once per circuit.

    Raises:
        NonAffineAngle: If the circuit cannot be traced.
    """
    builder = _Builder(circuit.n_qubits)
    for gate in circuit.trace().gates:
        builder.add(gate)
    return builder.finish(only_probabilities=circuit.readout.diagonal)


class _Builder:
    """Collects gates, and joins each gate with an earlier instruction where it can.

    It can where everything in between commutes with the gate.
    """

    def __init__(self, n_qubits: int) -> None:
        self.n_qubits = n_qubits
        self.untouched = set(range(n_qubits))  # wires that are still |0>
        self.done: list[Instruction] = []

    def add(self, gate: Gate) -> None:  # noqa: C901 - a case for each gate
        match gate.name:
            case "RY":
                self._rotate(gate.wires[0], gate.angle or Angle())
            case "RX":
                self._diagonal(gate.wires, _QUARTER_TURN * -0.5)
                self._rotate(gate.wires[0], gate.angle or Angle())
                self._diagonal(gate.wires, _QUARTER_TURN * 0.5)
            case "Hadamard":
                self._phase_shift(gate.wires[0], _HALF_TURN)
                self._rotate(gate.wires[0], _QUARTER_TURN)
            case "RZ":
                self._diagonal(gate.wires, (gate.angle or Angle()) * -0.5)
            case "PhaseShift":
                self._phase_shift(gate.wires[0], gate.angle or Angle())
            case "GlobalPhase":
                self._diagonal((), -(gate.angle or Angle()))
            case "PauliZ":
                self._phase_shift(gate.wires[0], _HALF_TURN)
            case "S":
                self._phase_shift(gate.wires[0], _HALF_TURN / 2)
            case "T":
                self._phase_shift(gate.wires[0], _HALF_TURN / 4)
            case "CZ":
                eighth_turn = Angle({}, np.pi / 4)
                self._diagonal((), eighth_turn)
                self._diagonal(gate.wires[:1], -eighth_turn)
                self._diagonal(gate.wires[1:], -eighth_turn)
                self._diagonal(gate.wires, eighth_turn)
            case "PauliY":
                self._phase_shift(gate.wires[0], _HALF_TURN)
                self._permute(Gate("PauliX", gate.wires))
                self._diagonal((), _QUARTER_TURN)
            case _:
                self._permute(gate)

    def finish(self, only_probabilities: bool) -> Program:
        pruned = [self._prune(step, only_probabilities) for step in self.done]
        done = [step for step in pruned if step is not None]
        last: npt.NDArray[np.int64] | None = None
        moves_into_readout = (Permute, Phase) if only_probabilities else Permute
        while done and isinstance(done[-1], moves_into_readout):
            step = done.pop()
            if isinstance(step, Permute):
                last = step.index if last is None else step.index[last]
        match done:
            case [Rotate() as start, *rest]:
                return Program(self.n_qubits, start, rest, last)
        return Program(self.n_qubits, Rotate({}), done, last)

    @staticmethod
    def _prune(step: Instruction, only_probabilities: bool) -> Instruction | None:
        """Drop phases that are zero, and the global phase where nothing can see it.

        Returns:
            The step without them; None if it has no phase left.
        """
        if not isinstance(step, Phase):
            return step
        kept = {mask: angle for mask, angle in step.angles.items() if angle.terms or angle.constant}
        if only_probabilities:
            kept.pop(0, None)
        return Phase(kept) if kept else None

    def _rotate(self, wire: int, angle: Angle) -> None:
        home = None  # the layer of rotations that this one joins
        place = len(self.done)  # where a new layer would go
        for i, step in reversed(list(enumerate(self.done))):
            if isinstance(step, Rotate):
                home = step
            if wire in self._wires(step):
                break
            place = i
        self.untouched.discard(wire)
        if home is None:
            self.done.insert(place, Rotate({wire: angle}))
        else:
            home.angles[wire] = home.angles.get(wire, Angle()) + angle

    def _diagonal(self, wires: tuple[int, ...], angle: Angle) -> None:
        touched = set(wires) - self.untouched  # the sign of a wire in |0> is +1
        mask = sum(1 << (self.n_qubits - 1 - wire) for wire in touched)
        for instruction in reversed(self.done):
            if isinstance(instruction, Phase):
                instruction.angles[mask] = instruction.angles.get(mask, Angle()) + angle
                return
            if touched & self._wires(instruction):
                break
        self.done.append(Phase({mask: angle}))

    def _phase_shift(self, wire: int, angle: Angle) -> None:
        self._diagonal((), angle * 0.5)
        self._diagonal((wire,), angle * -0.5)

    def _permute(self, gate: Gate) -> None:
        if gate.name == "CNOT" and gate.wires[0] in self.untouched:
            return
        self.untouched -= set(gate.wires)
        index = self._index(gate)
        wires = frozenset(gate.wires)
        before = self.done[-1] if self.done else None
        if isinstance(before, Permute):
            self.done.pop()
            index = before.index[index]
            wires = before.wires | wires
        self.done.append(Permute(index, wires))

    def _index(self, gate: Gate) -> npt.NDArray[np.int64]:
        states = np.arange(2**self.n_qubits, dtype=np.int64)
        bits = [(states >> (self.n_qubits - 1 - wire)) & 1 for wire in gate.wires]
        masks = [1 << (self.n_qubits - 1 - wire) for wire in gate.wires]
        match gate.name:
            case "PauliX":
                flipped: npt.NDArray[np.int64] = np.full_like(states, masks[0])
            case "CNOT":
                flipped = bits[0] * masks[1]
            case _:  # SWAP
                flipped = (bits[0] ^ bits[1]) * (masks[0] | masks[1])
        return np.bitwise_xor(states, flipped)

    def _wires(self, instruction: Instruction) -> set[int]:
        if isinstance(instruction, Rotate):
            return set(instruction.angles)
        if isinstance(instruction, Permute):
            return set(instruction.wires)
        masks = int(np.bitwise_or.reduce(list(instruction.angles)))
        return {wire for wire in range(self.n_qubits) if masks >> (self.n_qubits - 1 - wire) & 1}
