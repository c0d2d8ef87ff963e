"""The compiled kernels of `hybridq/native/` behind the engine: a program packed into flat arrays, and its two calls."""

import ctypes
from ctypes import POINTER, Structure, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hybridq.circuits import Angle, Circuit, ExpvalZ, FirstProbabilities, Probabilities, RealAmplitudes
from hybridq.engine.once import ENGINE_WAY_OUT, differentiable_once
from hybridq.engine.program import Permute, Phase, Program, Rotate, compile_circuit
from hybridq.native import Kernels

__all__ = ["Packed", "pack", "run"]

_PARITIES, _PROBABILITIES, _REAL_PARTS = range(3)  # as in circuits.cpp


_TERM = np.dtype([("factor", np.float64), ("to", np.int32), ("variable", np.int32)])


class _Step(Structure):
    _fields_ = (
        ("keys", c_void_p),
        ("index", c_void_p),
        *((name, c_int32) for name in ("diagonal", "n_terms", "first_row", "table", "parts")),
    )


class _Program(Structure):
    _fields_ = (
        *(
            (name, c_void_p)
            for name in ("constants", "combination", "point_terms", "shared_terms", "steps", "states", "signs")
        ),
        *(
            (name, c_int32)
            for name in ("n_point_terms", "n_shared_terms", "n_qubits", "n_points", "n_shared", "n_combinations")
        ),
        *((name, c_int32) for name in ("n_rows", "n_steps", "n_outputs", "readout")),
    )


class _Call(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("program", "points", "shared", "outputs", "gradient", "to_points", "to_shared")),
        *((name, c_int64) for name in ("batch", "n_threads", "row_stride", "stride")),
    )


@dataclass(frozen=True, eq=False)
class Packed:
    """A circuit's program as the kernels read it.

    Args:
        program: The structure; `arrays` keeps alive what it points to.
        arrays: The arrays.
        own_weights: Whether weights differ from point to point.
        n_outputs: Number of outputs of the kernel.
        selects: Whether the kernel's outputs are the readout's; otherwise they are what `readout.select` takes.
    """

    program: _Program
    arrays: tuple[Any, ...]
    own_weights: bool
    n_outputs: int
    selects: bool


@lru_cache(maxsize=32)
def pack(circuit: Circuit, own_weights: bool) -> Packed:
    """Pack a circuit's program, for shared weights or for a point's own; made once for each."""
    return _Packer(circuit, own_weights).packed()


class _Packer:
    """Collects the steps and rows of angles of a program; weights of a point's own are variables like its inputs."""

    def __init__(self, circuit: Circuit, own_weights: bool) -> None:
        self.circuit, self.program = circuit, compile_circuit(circuit)
        self.own_weights, self.n_weights = own_weights, int(np.prod(circuit.weight_shape))
        self.n_points = circuit.n_inputs + (self.n_weights if own_weights else 0)
        self.arrays: list[Any] = []
        self.constants: list[float] = []
        self.combination: list[int] = []  # of each row
        self.combinations: dict[tuple[tuple[int, float], ...], int] = {(): 0}
        self.shared_terms: list[tuple[float, int, int]] = []
        self.n_tables, self.parts = 0, 1
        start = {wire: self.program.start.angles.get(wire, Angle()) for wire in range(circuit.n_qubits)}
        self.steps = [self._rotations(start)]
        for step in self.program.instructions:
            if isinstance(step, Rotate):
                self.steps.append(self._rotations(step.angles))
            elif isinstance(step, Phase):
                self.steps.append(self._step(1, dict(sorted(step.angles.items()))))
            else:
                self._permute(step)

    def packed(self) -> Packed:
        kind, states, signs, selects = _readout(self.circuit, self.program)
        steps = (_Step * len(self.steps))(*self.steps)
        point_terms = [(factor, to, variable) for terms, to in self.combinations.items() for variable, factor in terms]
        program = _Program(
            self._array(self.constants, np.float64),
            self._array(self.combination),
            self._array(point_terms, _TERM),
            self._array(self.shared_terms, _TERM),
            ctypes.addressof(steps),
            self._array(states),
            self._array(signs, np.float64),
            len(point_terms), len(self.shared_terms), self.circuit.n_qubits, self.n_points,
            self.circuit.n_inputs + self.n_weights - self.n_points, len(self.combinations),
            len(self.constants), len(self.steps), len(states), kind,
        )  # fmt: skip
        return Packed(program, (steps, *self.arrays), self.own_weights, len(states), selects)

    def _rotations(self, angles: dict[int, Angle]) -> _Step:
        n = self.circuit.n_qubits
        return self._step(0, {n - 1 - wire: angles[wire] * 0.5 for wire in sorted(angles, reverse=True)})

    def _step(self, diagonal: int, angles: dict[int, Angle]) -> _Step:
        first_row, parts = len(self.constants), self.parts
        for angle in angles.values():
            self._row(angle)
        table = -1
        if diagonal and not any(self.combination[first_row:]):
            table, self.n_tables = self.n_tables, self.n_tables + 1
        if diagonal and angles:
            self.parts = 2
        identity = np.arange(2**self.circuit.n_qubits)
        return _Step(self._array(list(angles)), self._array(identity), diagonal, len(angles), first_row, table, parts)

    def _row(self, angle: Angle) -> None:
        variables = [
            (index if kind == "x" else self.circuit.n_inputs + index, factor)
            for (kind, index), factor in angle.terms.items()
        ]
        of_point = tuple(sorted(term for term in variables if term[0] < self.n_points))
        row = len(self.constants)
        self.shared_terms += [(factor, row, v - self.n_points) for v, factor in variables if v >= self.n_points]
        self.combination.append(self.combinations.setdefault(of_point, len(self.combinations)))
        self.constants.append(angle.constant)

    def _permute(self, step: Permute) -> None:
        if not self.steps[-1].diagonal:  # which may end with a permutation already
            self.steps.append(self._step(1, {}))
        before = self.arrays[-1]
        self.steps[-1].index = self._array(before[step.index])

    def _array(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.int32) -> int:
        self.arrays.append(np.array(values, dtype=dtype))
        return int(self.arrays[-1].ctypes.data)


def _readout(circuit: Circuit, program: Program) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float64], bool]:
    """The kind, the states or masks, the signs, and whether these are all of the readout."""
    readout, n = circuit.readout, circuit.n_qubits
    last = np.arange(2**n) if program.last is None else program.last
    if type(readout) is ExpvalZ:
        # Permutations of CNOT, X and SWAP are affine over bits, so that the sign of a wire after one is a parity before it.
        inverse = np.argsort(last)
        shifts = n - 1 - np.arange(n)
        masks = ((inverse[1 << np.arange(n)] ^ inverse[0])[None] >> shifts[:, None] & 1) @ (1 << np.arange(n))
        return _PARITIES, masks, 1.0 - 2.0 * (inverse[0] >> shifts & 1), True
    kind = _PROBABILITIES if readout.diagonal else _REAL_PARTS
    states = torch.arange(2**n)
    selects = type(readout) in (Probabilities, FirstProbabilities, RealAmplitudes)
    if selects:
        states = readout.select(states, 0)
    return kind, last[states.numpy()], np.ones(len(states)), selects


def one_by_one(n_qubits: int) -> bool:
    """Whether circuits run one after the other, amplitudes side by side, or many at a time."""
    return n_qubits > 8


@lru_cache(maxsize=16)
def _function(kernels: Kernels, dtype: torch.dtype, one_by_one: bool) -> Any:
    name = f"hq_{'statevector' if one_by_one else 'circuits'}_{ {torch.float32: 'float', torch.float64: 'double'}[dtype] }"
    function = getattr(kernels.library, name)
    function.argtypes, function.restype = (POINTER(_Call),), None
    return function


def run(kernels: Kernels, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """Run a circuit by the kernels.

    Args:
        kernels: The kernels.
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), on the CPU.
        weights: Shape `weight_shape`, or (sets, *weight_shape) where each set serves batch / sets points in a row.

    Returns:
        Shape (batch, n_outputs). Differentiable once.
    """
    packed = pack(circuit, weights.ndim > len(circuit.weight_shape))
    function = _function(kernels, inputs.dtype, one_by_one(circuit.n_qubits))
    outputs: Tensor = _Run.apply(packed, function, inputs, weights)  # type: ignore[no-untyped-call]
    return outputs if packed.selects else circuit.readout.select(outputs, 1)


class _Run(torch.autograd.Function):
    """Saves the inputs and the weights, nothing else: the backward pass runs each block of circuits again."""

    @staticmethod
    def forward(ctx: Any, packed: Packed, function: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        ctx.packed, ctx.function = packed, function
        ctx.save_for_backward(inputs, weights)
        points, shared = _points(packed, inputs, weights)
        outputs = inputs.new_empty((len(inputs), packed.n_outputs))
        function(_call(packed, points, shared, outputs=outputs.data_ptr()))
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = ctx.saved_tensors
        found = differentiable_once(
            lambda: _gradients(ctx.packed, ctx.function, (inputs, weights), gradient),
            (gradient, inputs, weights),
            ENGINE_WAY_OUT,
        )
        return None, None, *found


def _gradients(packed: Packed, function: Any, saved: tuple[Tensor, Tensor], gradient: Tensor) -> tuple[Tensor, Tensor]:
    inputs, weights = saved
    points, shared = _points(packed, inputs, weights)
    to_points, to_shared = torch.empty_like(points), torch.zeros_like(shared)  # which an empty batch leaves at 0
    pointers = {"gradient": gradient.data_ptr(), "to_points": to_points.data_ptr(), "to_shared": to_shared.data_ptr()}
    row_stride, stride = gradient.stride()
    function(_call(packed, points, shared, **pointers, row_stride=row_stride, stride=stride))
    if not packed.own_weights:
        return to_points, to_shared
    to_inputs, to_weights = to_points[:, : inputs.shape[1]], to_points[:, inputs.shape[1] :]
    per_set = len(inputs) // max(1, len(weights))
    return to_inputs, to_weights.reshape(len(weights), per_set, *weights.shape[1:]).sum(1)


def _call(packed: Packed, points: Tensor, shared: Tensor, **others: int) -> _Call:
    variables = points.data_ptr(), shared.data_ptr()
    return _Call(
        ctypes.addressof(packed.program), *variables, batch=len(points), n_threads=torch.get_num_threads(), **others
    )


def _points(packed: Packed, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """What differs from point to point, and what all share; sets of weights belong to their points."""
    if not packed.own_weights:
        return inputs.contiguous(), weights.contiguous()
    of_points = weights.flatten(1).repeat_interleave(len(inputs) // max(1, len(weights)), 0)
    return torch.cat((inputs, of_points), 1), weights[:0]
