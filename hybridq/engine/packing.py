"""A compiled circuit packed into the flat arrays that the native kernels read."""

import ctypes
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hybridq.circuits import (
    Angle,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
)
from hybridq.engine.program import Permute, Phase, Program, Rotate, compile_circuit
from hybridq.native import circuits as kernel

__all__ = ["READOUTS", "pack_circuit"]

# The readouts whose outputs the kernels select. Those of others are made of probabilities by torch.
READOUTS = (ExpvalZ, Probabilities, FirstProbabilities, RealAmplitudes)

_PARITIES, _PROBABILITIES, _REAL_PARTS = range(3)  # `Readout` of circuit_program.h
_TERM = np.dtype(kernel.Term)


@lru_cache(maxsize=32)
def pack_circuit(circuit: Circuit, own_weights: bool) -> kernel.PackedProgram:
    """Pack a circuit's program, once for each circuit.

    Args:
        circuit: The circuit.
        own_weights: Whether each point has weights of its own. Otherwise all share them.
    """
    return _Packer(circuit, own_weights).packed()


class _Packer:
    """Collects the steps and angles of a program.

    Weights of a point's own are variables like its inputs.
    """

    def __init__(self, circuit: Circuit, own_weights: bool) -> None:
        self.circuit = circuit
        self.program = compile_circuit(circuit)
        self.own_weights = own_weights
        self.n_weights = math.prod(circuit.weight_shape)
        self.arrays: list[Any] = []  # which must live as long as the program
        self.constants: list[float] = []  # of each angle
        self.combination_numbers: list[int] = []  # of each angle
        self.combinations: dict[tuple[tuple[int, float], ...], int] = {(): 0}
        self.shared_terms: list[tuple[float, int, int]] = []
        self.n_tables = 0
        self.n_parts = 1
        angles = self.program.start.angles
        start = {wire: angles.get(wire, Angle()) for wire in range(circuit.n_qubits)}
        self.steps: list[kernel.Step] = []
        self.start = self._rotations(start)
        for instruction in self.program.instructions:
            if isinstance(instruction, Rotate):
                self.steps.append(self._rotations(instruction.angles))
            elif isinstance(instruction, Phase):
                self.steps.append(self._diagonal(dict(sorted(instruction.angles.items()))))
            else:
                self._permute(instruction)

    def packed(self) -> kernel.PackedProgram:
        outputs = _kernel_outputs(self.circuit, self.program)
        steps = (kernel.Step * len(self.steps))(*self.steps)
        point_terms = [
            (factor, number, variable)
            for terms, number in self.combinations.items()
            for variable, factor in terms
        ]
        program = kernel.Program(
            constants=self._array(self.constants, np.float64),
            combination_numbers=self._array(self.combination_numbers).data,
            shared_terms=self._array(self.shared_terms, _TERM),
            point_terms=self._array(point_terms, _TERM),
            steps=kernel.List(ctypes.addressof(steps), len(steps)),
            start=self.start,
            states=self._array(outputs.states).data,
            signs=self._array(outputs.signs, np.float64).data,
            n_qubits=self.circuit.n_qubits,
            n_inputs=self.circuit.n_inputs,
            n_weights=self.n_weights,
            n_point_weights=self.n_weights if self.own_weights else 0,
            n_combinations=len(self.combinations),
            n_outputs=len(outputs.states),
            readout=outputs.kind,
        )
        return kernel.PackedProgram(
            address=ctypes.addressof(program),
            arrays=(program, steps, *self.arrays),
            n_outputs=len(outputs.states),
            selects=outputs.selects,
        )

    def _rotations(self, angles: dict[int, Angle]) -> kernel.Step:
        """Make a step of rotations, whose keys are bits; the kernels take half angles."""
        n = self.circuit.n_qubits
        wires = sorted(angles, reverse=True)
        return self._step({n - 1 - wire: angles[wire] * 0.5 for wire in wires}, np.arange(0))

    def _diagonal(self, angles: dict[int, Angle]) -> kernel.Step:
        """Make a step of phases, whose keys are masks, and of no permutation so far."""
        first_angle = len(self.constants)
        step = self._step(angles, np.arange(2**self.circuit.n_qubits))
        step.is_diagonal = 1
        if not any(self.combination_numbers[first_angle:]):
            step.table = self.n_tables
            self.n_tables += 1
        if angles:
            self.n_parts = 2
        return step

    def _step(self, angles: dict[int, Angle], permutation: npt.NDArray[np.int64]) -> kernel.Step:
        first_angle = len(self.constants)
        for angle in angles.values():
            self._add_angle(angle)
        return kernel.Step(
            keys=self._array(list(angles)),
            permutation=self._array(permutation).data,
            is_diagonal=0,
            first_angle=first_angle,
            table=-1,
            n_parts=self.n_parts,
        )

    def _add_angle(self, angle: Angle) -> None:
        of_point = []
        for (kind, index), factor in sorted(angle.terms.items()):
            if kind == "x":
                of_point.append((index, factor))
            elif self.own_weights:
                of_point.append((self.circuit.n_inputs + index, factor))
            else:
                self.shared_terms.append((factor, len(self.constants), index))
        number = self.combinations.setdefault(tuple(of_point), len(self.combinations))
        self.combination_numbers.append(number)
        self.constants.append(angle.constant)

    def _permute(self, instruction: Permute) -> None:
        """Add a permutation to the last step, which may end with one already."""
        if not (self.steps and self.steps[-1].is_diagonal):
            self.steps.append(self._diagonal({}))
        before = self.arrays.pop()  # the array of the last step's permutation
        self.steps[-1].permutation = self._array(before[instruction.index]).data

    def _array(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.int32) -> kernel.List:
        array = np.array(values, dtype=dtype)
        self.arrays.append(array)
        return kernel.List(array.ctypes.data, len(array))


@dataclass(frozen=True, eq=False)
class _KernelOutputs:
    """What a kernel reads at the end.

    Args:
        kind: A `Readout` of circuit_program.h.
        states: The state, or the mask of a parity, of each output.
        signs: The factor of each output.
        selects: Whether these are the outputs of the circuit's readout.
    """

    kind: int
    states: npt.NDArray[np.int64]
    signs: npt.NDArray[np.float64]
    selects: bool


def _kernel_outputs(circuit: Circuit, program: Program) -> _KernelOutputs:
    readout = circuit.readout
    n = circuit.n_qubits
    last = np.arange(2**n) if program.last is None else program.last
    if type(readout) is ExpvalZ:
        return _parities(n, last)
    kind = _PROBABILITIES if readout.diagonal else _REAL_PARTS
    states = torch.arange(2**n, device="cpu")
    selects = type(readout) in READOUTS
    if selects:
        states = readout.select(states, 0)
    return _KernelOutputs(kind, last[states.numpy()], np.ones(len(states)), selects)


def _parities(n_qubits: int, last: npt.NDArray[np.int64]) -> _KernelOutputs:
    """Find <Z> of each wire after the last permutation.

    Permutations of CNOT, X and SWAP are affine over bits, so that the sign of a wire after one is
    a parity before it.
    """
    inverse = np.argsort(last)
    bits = 1 << np.arange(n_qubits)
    shifts = n_qubits - 1 - np.arange(n_qubits)
    flipped = inverse[bits] ^ inverse[0]  # what each bit before changes after
    masks = (flipped[None] >> shifts[:, None] & 1) @ bits
    signs = 1.0 - 2.0 * (inverse[0] >> shifts & 1)
    return _KernelOutputs(_PARITIES, masks, signs, True)
