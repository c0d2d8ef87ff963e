"""The compiled kernels of `hybridq/native/` behind the engine: a program packed into flat arrays, and its two calls."""

import ctypes
from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_void_p
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

_PARITIES, _PROBABILITIES, _REAL_PARTS = range(3)  # as in circuit.h


class _Step(Structure):
    _fields_ = (
        ("keys", POINTER(c_int32)),
        ("index", POINTER(c_int32)),
        ("diagonal", c_int32),
        ("n_terms", c_int32),
        ("first_row", c_int32),
    )


class _Program(Structure):
    _fields_ = (
        ("constants", POINTER(c_double)),
        ("first_term", POINTER(c_int32)),
        ("variables", POINTER(c_int32)),
        ("factors", POINTER(c_double)),
        ("like", POINTER(c_int32)),
        ("steps", POINTER(_Step)),
        ("states", POINTER(c_int32)),
        ("signs", POINTER(c_double)),
        *((name, c_int32) for name in ("n_qubits", "n_inputs", "n_weights", "n_outputs", "n_rows", "n_steps", "readout")),
    )


@dataclass(frozen=True, eq=False)
class Packed:
    """A circuit's program as the kernels read it.

    Args:
        program: The structure; `arrays` keeps alive what it points to.
        arrays: The arrays.
        n_outputs: Number of outputs of the kernel.
        selects: Whether the kernel's outputs are the readout's; otherwise they are what `readout.select` takes.
    """

    program: _Program
    arrays: tuple[Any, ...]
    n_outputs: int
    selects: bool


@lru_cache(maxsize=32)
def pack(circuit: Circuit) -> Packed:
    """Pack a circuit's program; made once per circuit."""
    return _Packer(circuit).packed()


class _Packer:
    """Collects the steps and the rows of angles of a program."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit, self.program = circuit, compile_circuit(circuit)
        self.arrays: list[Any] = []
        self.angles: list[Angle] = []
        self._identity = self._integers(np.arange(2**circuit.n_qubits))
        self.steps: list[_Step] = [self._rotations(self.program.start)]
        for step in self.program.instructions:
            if isinstance(step, Rotate):
                self.steps.append(self._rotations(step))
            elif isinstance(step, Phase):
                self.steps.append(self._step(1, dict(sorted(step.angles.items()))))
            else:
                self._permute(step)

    def packed(self) -> Packed:
        circuit, n = self.circuit, self.circuit.n_qubits
        kind, states, signs, selects = _readout(circuit, self.program)
        terms = [[_term(circuit, symbol, factor) for symbol, factor in angle.terms.items()] for angle in self.angles]
        inputs = [tuple(term for term in row if term[0] < circuit.n_inputs) for row in terms]
        steps = (_Step * len(self.steps))(*self.steps)
        program = _Program(
            self._doubles([angle.constant for angle in self.angles]),
            self._integers(np.cumsum([0, *map(len, terms)])),
            self._integers([variable for row in terms for variable, _ in row]),
            self._doubles([factor for row in terms for _, factor in row]),
            self._integers([inputs.index(row) for row in inputs]),
            steps,
            self._integers(states),
            self._doubles(signs),
            n, circuit.n_inputs, int(np.prod(circuit.weight_shape)), len(states), len(self.angles), len(self.steps), kind,
        )  # fmt: skip
        return Packed(program, (steps, *self.arrays), len(states), selects)

    def _rotations(self, step: Rotate) -> _Step:
        n = self.circuit.n_qubits
        return self._step(0, {n - 1 - wire: step.angles[wire] * 0.5 for wire in sorted(step.angles, reverse=True)})

    def _step(self, diagonal: int, terms: dict[int, Angle]) -> _Step:
        first_row = len(self.angles)
        self.angles += terms.values()
        return _Step(self._integers(list(terms)), self._identity, diagonal, len(terms), first_row)

    def _permute(self, step: Permute) -> None:
        if not self.steps[-1].diagonal:  # which may end with a permutation already
            self.steps.append(self._step(1, {}))
        before = np.ctypeslib.as_array(self.steps[-1].index, (len(step.index),))
        self.steps[-1].index = self._integers(before[step.index])

    def _integers(self, values: npt.ArrayLike) -> Any:
        self.arrays.append(np.ascontiguousarray(values, dtype=np.int32))
        return self.arrays[-1].ctypes.data_as(POINTER(c_int32))

    def _doubles(self, values: npt.ArrayLike) -> Any:
        self.arrays.append(np.ascontiguousarray(values, dtype=np.float64))
        return self.arrays[-1].ctypes.data_as(POINTER(c_double))


def _term(circuit: Circuit, symbol: tuple[str, int], factor: float) -> tuple[int, float]:
    kind, index = symbol
    return (index if kind == "x" else circuit.n_inputs + index), factor


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


_POINTER = c_void_p
_COMMON = (_POINTER, _POINTER, _POINTER, c_int64, c_int64, ctypes.c_int)


def one_by_one(n_qubits: int, batch: int) -> bool:
    """Whether circuits run one after the other, amplitudes side by side, or many at a time: measured."""
    return n_qubits > 8


@lru_cache(maxsize=16)
def _calls(kernels: Kernels, dtype: torch.dtype, one_by_one: bool) -> tuple[Any, Any]:
    name = f"hq_{'statevector' if one_by_one else 'circuits'}_{ {torch.float32: 'f32', torch.float64: 'f64'}[dtype] }"
    forward, backward = getattr(kernels.library, name), getattr(kernels.library, f"{name}_gradient")
    forward.argtypes, forward.restype = (*_COMMON, _POINTER), None
    backward.argtypes, backward.restype = (*_COMMON, _POINTER, c_int64, c_int64, _POINTER, _POINTER), None
    return forward, backward


def run(kernels: Kernels, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """Run a circuit by the kernels.

    Args:
        kernels: The kernels.
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), on the CPU.
        weights: Shape (n_weights,), or (sets, n_weights) where each set serves batch / sets points in a row.

    Returns:
        Shape (batch, n_outputs). Differentiable once.
    """
    packed = pack(circuit)
    calls = _calls(kernels, inputs.dtype, one_by_one(circuit.n_qubits, len(inputs)))
    outputs: Tensor = _Run.apply(packed, calls, inputs, weights)  # type: ignore[no-untyped-call]
    return outputs if packed.selects else circuit.readout.select(outputs, 1)


class _Run(torch.autograd.Function):
    """Saves the inputs and the weights, nothing else: the backward pass runs each block of circuits again."""

    @staticmethod
    def forward(ctx: Any, packed: Packed, calls: tuple[Any, Any], inputs: Tensor, weights: Tensor) -> Tensor:
        inputs, weights = inputs.contiguous(), weights.contiguous()
        ctx.packed, ctx.backward_call = packed, calls[1]
        ctx.save_for_backward(inputs, weights)
        outputs = inputs.new_empty((len(inputs), packed.n_outputs))
        calls[0](*_arguments(packed, inputs, weights), outputs.data_ptr())
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = ctx.saved_tensors

        def gradients() -> tuple[Tensor | None, Tensor]:
            to_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[2] else None
            to_weights = torch.zeros_like(weights)
            ctx.backward_call(
                *_arguments(ctx.packed, inputs, weights),
                gradient.data_ptr(),
                *gradient.stride(),
                None if to_inputs is None else to_inputs.data_ptr(),
                to_weights.data_ptr(),
            )
            return to_inputs, to_weights

        return None, None, *differentiable_once(gradients, (gradient, inputs, weights), ENGINE_WAY_OUT)


def _arguments(packed: Packed, inputs: Tensor, weights: Tensor) -> tuple[Any, ...]:
    batch = len(inputs)
    per_set = max(1, batch // max(1, len(weights))) if weights.ndim == 2 else 0
    return (
        ctypes.addressof(packed.program),
        inputs.data_ptr(),
        weights.data_ptr(),
        batch,
        per_set,
        torch.get_num_threads(),
    )
