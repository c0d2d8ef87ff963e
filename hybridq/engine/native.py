"""The compiled kernels of `hybridq/native/` behind the engine: a program packed into flat arrays, and its two calls."""

import ctypes
import math
import struct
from ctypes import Structure, c_char_p, c_int, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hybridq.circuits import (
    Angle,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
)
from hybridq.engine.arguments import not_finite
from hybridq.engine.once import ENGINE_WAY_OUT, differentiable_once, save_tensors, saved_tensors
from hybridq.engine.program import Permute, Phase, Program, Rotate, compile_circuit
from hybridq.errors import InvalidArgument
from hybridq.native import Kernels

__all__ = [
    "DTYPES",
    "READOUTS",
    "Packed",
    "Series",
    "Settings",
    "call_backward",
    "call_forward",
    "pack",
    "run",
    "settings_for",
]

DTYPES = (torch.float32, torch.float64)
READOUTS = (
    ExpvalZ,
    Probabilities,
    FirstProbabilities,
    RealAmplitudes,
)  # of others torch makes the outputs of probabilities
_PARITIES, _PROBABILITIES, _REAL_PARTS = range(3)  # as in circuits.cpp


_TERM = np.dtype([("factor", np.float64), ("to", np.int32), ("variable", np.int32)])
_CALL = struct.Struct(
    "7P6q 6Pq"
)  # `Call`: the addresses of the program and of six arrays, its numbers, a Fourier series
_NO_SERIES, _NOT_FINITE = (0,) * 7, 2


class _List(Structure):
    _fields_ = (("data", c_void_p), ("n", c_int64))


class _Step(Structure):
    _fields_ = (
        ("keys", _List),
        ("index", c_void_p),
        *((name, c_int32) for name in ("diagonal", "row", "table", "parts")),
    )


class _Program(Structure):
    _fields_ = (
        ("rows", _List),
        ("combination", c_void_p),
        *((name, _List) for name in ("shared_terms", "point_terms", "steps")),
        ("start", _Step),
        *((name, c_void_p) for name in ("states", "signs")),
        *(
            (name, c_int32)
            for name in ("n_qubits", "n_inputs", "n_weights", "n_own", "n_combinations")
        ),
        *((name, c_int32) for name in ("n_outputs", "readout")),
    )


@dataclass(frozen=True, eq=False)
class Packed:
    """A circuit's program as the kernels read it.

    Args:
        address: Of the structure.
        arrays: What keeps it and all that it points to alive.
        n_outputs: Number of outputs of the kernel.
        selects: Whether the kernel's outputs are the readout's; otherwise they are what
            `readout.select` takes.
    """

    address: int
    arrays: tuple[Any, ...]
    n_outputs: int
    selects: bool


@lru_cache(maxsize=32)
def pack(circuit: Circuit, own_weights: bool, given: tuple[int, ...] | None = None) -> Packed:
    """Pack a circuit's program; made once for each.

    Args:
        circuit: The circuit.
        own_weights: Whether each point has weights of its own, or all share them.
        given: The flat indices of the weights that a call gives; of others nothing may depend. By
            default all.
    """
    everything = tuple(range(math.prod(circuit.weight_shape)))
    return _Packer(circuit, own_weights, everything if given is None else given).packed()


class _Packer:
    """Collects the steps and rows of angles of a program; weights of a point's own are variables like its inputs."""

    def __init__(self, circuit: Circuit, own_weights: bool, given: tuple[int, ...]) -> None:
        self.circuit, self.program = circuit, compile_circuit(circuit)
        self.own_weights, self.places = (
            own_weights,
            {index: place for place, index in enumerate(given)},
        )
        self.arrays: list[Any] = []
        self.constants: list[float] = []
        self.combination: list[int] = []  # of each row
        self.combinations: dict[tuple[tuple[int, float], ...], int] = {(): 0}
        self.shared_terms: list[tuple[float, int, int]] = []
        self.n_tables, self.parts = 0, 1
        start = {
            wire: self.program.start.angles.get(wire, Angle()) for wire in range(circuit.n_qubits)
        }
        self.steps: list[_Step] = []
        self.start = self._rotations(start)
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
        point_terms = [
            (factor, to, variable)
            for terms, to in self.combinations.items()
            for variable, factor in terms
        ]
        program = _Program(
            rows=self._array(self.constants, np.float64),
            combination=self._array(self.combination).data,
            shared_terms=self._array(self.shared_terms, _TERM),
            point_terms=self._array(point_terms, _TERM),
            steps=_List(ctypes.addressof(steps), len(steps)),
            states=self._array(states).data,
            signs=self._array(signs, np.float64).data,
            start=self.start,
            n_qubits=self.circuit.n_qubits,
            n_inputs=self.circuit.n_inputs,
            n_weights=len(self.places),
            n_own=len(self.places) if self.own_weights else 0,
            n_combinations=len(self.combinations),
            n_outputs=len(states),
            readout=kind,
        )
        return Packed(
            ctypes.addressof(program), (program, steps, *self.arrays), len(states), selects
        )

    def _rotations(self, angles: dict[int, Angle]) -> _Step:
        n = self.circuit.n_qubits
        return self._step(
            0, {n - 1 - wire: angles[wire] * 0.5 for wire in sorted(angles, reverse=True)}
        )

    def _step(self, diagonal: int, angles: dict[int, Angle]) -> _Step:
        row, parts = len(self.constants), self.parts
        for angle in angles.values():
            self._row(angle)
        table = -1
        if diagonal and not any(self.combination[row:]):
            table, self.n_tables = self.n_tables, self.n_tables + 1
        if diagonal and angles:
            self.parts = 2
        identity = np.arange(2**self.circuit.n_qubits if diagonal else 0)
        return _Step(
            self._array(list(angles)), self._array(identity).data, diagonal, row, table, parts
        )

    def _row(self, angle: Angle) -> None:
        of_point = []
        for (kind, index), factor in sorted(angle.terms.items()):
            if kind == "x":
                of_point.append((index, factor))
            elif self.own_weights:
                of_point.append((self.circuit.n_inputs + self.places[index], factor))
            else:
                self.shared_terms.append((factor, len(self.constants), self.places[index]))
        self.combination.append(
            self.combinations.setdefault(tuple(of_point), len(self.combinations))
        )
        self.constants.append(angle.constant)

    def _permute(self, step: Permute) -> None:
        if not (self.steps and self.steps[-1].diagonal):  # which may end with a permutation already
            self.steps.append(self._step(1, {}))
        before = self.arrays.pop()
        self.steps[-1].index = self._array(before[step.index]).data

    def _array(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.int32) -> _List:
        self.arrays.append(np.array(values, dtype=dtype))
        return _List(self.arrays[-1].ctypes.data, len(self.arrays[-1]))


def _readout(
    circuit: Circuit, program: Program
) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float64], bool]:
    """The kind, the states or masks, the signs, and whether these are all of the readout."""
    readout, n = circuit.readout, circuit.n_qubits
    last = np.arange(2**n) if program.last is None else program.last
    if type(readout) is ExpvalZ:
        # Permutations of CNOT, X and SWAP are affine over bits, so that the sign of a wire after
        # one is a parity before it.
        inverse = np.argsort(last)
        shifts = n - 1 - np.arange(n)
        masks = ((inverse[1 << np.arange(n)] ^ inverse[0])[None] >> shifts[:, None] & 1) @ (
            1 << np.arange(n)
        )
        return _PARITIES, masks, 1.0 - 2.0 * (inverse[0] >> shifts & 1), True
    kind = _PROBABILITIES if readout.diagonal else _REAL_PARTS
    states = torch.arange(2**n, device="cpu")
    selects = type(readout) in READOUTS
    if selects:
        states = readout.select(states, 0)
    return kind, last[states.numpy()], np.ones(len(states)), selects


def one_by_one(n_qubits: int) -> bool:
    """Whether circuits run one after the other, amplitudes side by side, or many at a time."""
    return n_qubits > 8


class Series(NamedTuple):
    """What makes Fourier coefficients of the outputs, of which each set of weights has those of its samples in a row.

    All tensors are contiguous.

    Args:
        readout: Shape (sets, n_outputs).
        gate: Shape (sets,).
        transform: From samples to coefficients, shape (samples, n).
        coefficients: Shape (sets, n), zeros, which become the coefficients; in the backward pass
            dL/d(coefficients).
        to_readout: In the backward pass zeros, which become dL/d(readout).
        to_gate: In the backward pass zeros, which become dL/d(gate).
    """

    readout: Tensor
    gate: Tensor
    transform: Tensor
    coefficients: Tensor
    to_readout: Tensor | None = None
    to_gate: Tensor | None = None


class Settings(NamedTuple):
    """What a call needs beside tensors; see `settings_for`."""

    packed: Packed
    function: Any
    one_by_one: bool
    own_weights: bool


@lru_cache(maxsize=64)  # in one place: small circuits feel every call
def settings_for(
    kernels: Kernels,
    dtype: torch.dtype,
    circuit: Circuit,
    own_weights: bool,
    given: tuple[int, ...] | None = None,
) -> Settings:
    """Find the function, and pack the program as `pack` does."""
    function = kernels.library[
        "hq_circuits_float" if dtype == torch.float32 else "hq_circuits_double"
    ]
    function.argtypes, function.restype = (c_char_p,), c_int
    return Settings(
        pack(circuit, own_weights, given), function, one_by_one(circuit.n_qubits), own_weights
    )


def run(kernels: Kernels, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """Run a circuit by the kernels.

    Args:
        kernels: The kernels.
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), on the CPU.
        weights: Shape `weight_shape`, or (sets, *weight_shape) where each set serves batch / sets
            points in a row.

    Returns:
        Shape (batch, n_outputs). Differentiable once.
    """
    own_weights = (
        weights.ndim > len(circuit.weight_shape) and weights.shape[0] != 1
    )  # one set is all points' together
    settings = settings_for(kernels, inputs.dtype, circuit, own_weights)
    inputs, weights = inputs.resolve_neg().contiguous(), weights.resolve_neg().contiguous()
    outputs: Tensor = _Run.apply(settings, inputs, weights)  # type: ignore[no-untyped-call]
    return outputs if settings.packed.selects else circuit.readout.select(outputs, 1)


class _Run(torch.autograd.Function):
    """Saves the inputs and the weights, nothing else: the backward pass runs each block of circuits again."""

    @staticmethod
    def forward(ctx: Any, settings: Settings, inputs: Tensor, weights: Tensor) -> Tensor:
        ctx.settings = settings
        save_tensors(ctx, inputs, weights)
        return call_forward(settings, inputs, weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = saved_tensors(ctx)
        found = differentiable_once(
            lambda: call_backward(ctx.settings, inputs, weights, gradient.resolve_neg()),
            (gradient, inputs, weights),
            ENGINE_WAY_OUT,
        )
        return None, *found


def call_forward(
    settings: Settings, inputs: Tensor, weights: Tensor, series: Series | None = None
) -> Tensor:
    """Run circuits outside of autograd.

    Args:
        settings: What `settings_for` found.
        inputs: As `run`, contiguous.
        weights: Those that are given, shape (sets, ...), or without sets; contiguous.
        series: What to make of the outputs.

    Returns:
        The outputs, shape (batch, `packed.n_outputs`).

    Raises:
        InvalidArgument: If a series has an angle that is NaN or infinite, or a tensor has no
            memory.
        MemoryError: If there is no room for the states.
    """
    outputs = inputs.new_empty((inputs.shape[0], settings.packed.n_outputs))
    _call(settings, (inputs, weights), (outputs.data_ptr(), 0, 0, 0), (0, 0), series)
    return outputs


def call_backward(
    settings: Settings,
    inputs: Tensor,
    weights: Tensor,
    gradient: Tensor,
    outputs: Tensor | None = None,
    series: Series | None = None,
) -> tuple[Tensor, Tensor]:
    """Pull a gradient back through circuits.

    Args:
        settings: As `call_forward`.
        inputs: As `call_forward`.
        weights: As `call_forward`.
        gradient: dL/d(outputs), of any strides; for a series contiguous room for it.
        outputs: For a series what `call_forward` returned.
        series: As `call_forward`.

    Returns:
        dL/d(inputs) and dL/d(weights).

    Raises:
        InvalidArgument: As `call_forward`.
        MemoryError: As `call_forward`.
    """
    to_inputs, to_weights = torch.empty_like(inputs), torch.empty_like(weights)
    batch = inputs.shape[0]
    direct = not settings.own_weights or weights.shape[0] == batch
    to_own = (
        to_weights if direct else weights.new_empty((batch, *weights.shape[1:]))
    )  # a set serves several points
    addresses = _address(gradient), to_inputs.data_ptr(), to_own.data_ptr()
    _call(settings, (inputs, weights), (_address(outputs), *addresses), gradient.stride(), series)
    if not direct:
        torch.sum(
            to_own.view(len(weights), batch // len(weights), *weights.shape[1:]), 1, out=to_weights
        )
    return to_inputs, to_weights


def _address(tensor: Tensor | None) -> int:
    if tensor is None:
        return 0
    address = tensor.data_ptr()
    if (
        not address and tensor.numel()
    ):  # of a fake one, or the zeros that some derivatives are made of
        raise InvalidArgument.of(
            "tensor",
            f"without memory, of shape {tuple(tensor.shape)}",
            "the kernels take real ones",
        )
    return address


def _call(
    settings: Settings,
    variables: tuple[Tensor, Tensor],
    addresses: tuple[int, ...],
    strides: tuple[int, ...],
    series: Series | None,
) -> None:
    (packed, function, separate, own_weights), (inputs, weights) = settings, variables
    sizes = inputs.shape[0], weights.shape[0] if own_weights else 1, torch.get_num_threads()
    others = _NO_SERIES if series is None else (*map(_address, series), series.transform.shape[1])
    problem = (
        packed.address,
        inputs.data_ptr(),
        weights.data_ptr(),
        *addresses,
        *sizes,
        *strides,
        separate,
        *others,
    )
    failure = function(_CALL.pack(*problem))
    if failure == _NOT_FINITE:
        raise not_finite("weights")
    if failure:
        raise MemoryError("no memory for the states of the circuits")
