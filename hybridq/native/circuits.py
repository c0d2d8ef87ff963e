"""The calls of the circuit kernels: tensors go in, the kernels get addresses.

`hybridq.engine.packing` packs a circuit into a `Program`. The structures are those of
`circuit_program.h`, which says what each field means.
"""

import ctypes
from ctypes import Structure, c_double, c_int32, c_int64, c_void_p, sizeof
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.native.structures import packer

__all__ = [
    "DTYPES",
    "SIZES",
    "CircuitKernel",
    "List",
    "PackedProgram",
    "Program",
    "SeriesArguments",
    "Step",
    "Term",
    "call_backward",
    "call_forward",
    "circuit_function",
]

DTYPES = (torch.float32, torch.float64)
_NOT_FINITE = 2  # what a kernel returns, as in circuits.cpp; other failures are those of memory


class List(Structure):
    """Items side by side in memory."""

    _fields_ = (("data", c_void_p), ("length", c_int64))


class Term(Structure):
    """Something that is added to an angle: factor * variable."""

    _fields_ = (("factor", c_double), ("target", c_int32), ("variable", c_int32))


class Step(Structure):
    """A layer of rotations, or a diagonal and the permutation after it."""

    _fields_ = (
        ("keys", List),
        ("permutation", c_void_p),
        ("is_diagonal", c_int32),
        ("first_angle", c_int32),
        ("table", c_int32),
        ("n_parts", c_int32),
    )


class Program(Structure):
    """A circuit."""

    _fields_ = (
        ("constants", List),
        ("combination_numbers", c_void_p),
        ("shared_terms", List),
        ("point_terms", List),
        ("steps", List),
        ("start", Step),
        ("states", c_void_p),
        ("signs", c_void_p),
        ("n_qubits", c_int32),
        ("n_inputs", c_int32),
        ("n_weights", c_int32),
        ("n_point_weights", c_int32),
        ("n_combinations", c_int32),
        ("n_outputs", c_int32),
        ("readout", c_int32),
    )


class Call(Structure):
    """A call, forward or backward."""

    _fields_ = (
        ("program", c_void_p),
        ("inputs", c_void_p),
        ("weights", c_void_p),
        ("outputs", c_void_p),
        ("gradient", c_void_p),
        ("to_inputs", c_void_p),
        ("to_weights", c_void_p),
        ("batch", c_int64),
        ("n_sets", c_int64),
        ("n_threads", c_int64),
        ("gradient_row_stride", c_int64),
        ("gradient_column_stride", c_int64),
        ("one_by_one", c_int64),
        ("readout", c_void_p),
        ("gate", c_void_p),
        ("transform", c_void_p),
        ("coefficients", c_void_p),
        ("to_readout", c_void_p),
        ("to_gate", c_void_p),
        ("n_coefficients", c_int64),
    )


SIZES = {
    f"circuits.{structure.__name__}": sizeof(structure)
    for structure in (List, Term, Step, Program, Call)
}
_pack_call = packer(Call)
_NO_SERIES = (0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class PackedProgram:
    """A circuit's program as the kernels read it.

    Args:
        address: The address of the `Program`.
        arrays: The objects that keep it and all that it points to alive.
        n_outputs: The number of outputs of the kernel.
        selects: Whether the kernel's outputs are the readout's. Otherwise the readout selects its
            outputs from them.
    """

    address: int
    arrays: tuple[Any, ...]
    n_outputs: int
    selects: bool


class CircuitKernel(NamedTuple):
    """A kernel for one circuit.

    Args:
        program: The packed circuit.
        function: The function of the library, for one dtype.
        one_by_one: Whether circuits run one after the other, amplitudes side by side. Otherwise
            many run at a time.
        own_weights: Whether each set of weights serves points of its own. Otherwise all points
            share one set.
    """

    program: PackedProgram
    function: Any
    one_by_one: bool
    own_weights: bool


class SeriesArguments(NamedTuple):
    """The tensors that make Fourier coefficients of a circuit's outputs.

    Each set of weights has its samples in a row. All tensors are contiguous.

    Args:
        readout: The weights of the outputs, shape (sets, n_outputs).
        gate: The factors of the weighted outputs, shape (sets,).
        transform: The matrix from samples to coefficients, shape (samples, n_coefficients).
        coefficients: Shape (sets, n_coefficients). In the forward pass zeros, which become the
            coefficients; in the backward pass dL/d(coefficients).
        to_readout: In the backward pass zeros, which become dL/d(readout).
        to_gate: In the backward pass zeros, which become dL/d(gate).
    """

    readout: Tensor
    gate: Tensor
    transform: Tensor
    coefficients: Tensor
    to_readout: Tensor | None = None
    to_gate: Tensor | None = None


def circuit_function(library: ctypes.CDLL, dtype: torch.dtype) -> Any:
    """Return a library's function for circuits of a dtype, one of `DTYPES`."""
    function = library["hq_circuits_float" if dtype == torch.float32 else "hq_circuits_double"]
    function.argtypes = (ctypes.c_char_p,)
    function.restype = ctypes.c_int
    return function


def call_forward(
    kernel: CircuitKernel, inputs: Tensor, weights: Tensor, series: SeriesArguments | None = None
) -> Tensor:
    """Run circuits outside of autograd.

    Args:
        kernel: The kernel of the circuit and of the tensors' dtype.
        inputs: Shape (batch, n_inputs), radians, contiguous.
        weights: Those that the program was packed for, radians, contiguous: shape (sets, ...), or
            without sets.
        series: The tensors that make Fourier coefficients of the outputs, if any are wanted.

    Returns:
        The outputs, shape (batch, `program.n_outputs`).

    Raises:
        InvalidArgument: If a series has an angle that is NaN or infinite, or a tensor has no
            memory.
        MemoryError: If there is no room for the states.
    """
    batch = inputs.shape[0]
    outputs = inputs.new_empty((batch, kernel.program.n_outputs))
    _run(
        kernel,
        kernel.program.address,
        inputs.data_ptr(),
        weights.data_ptr(),
        outputs.data_ptr(),
        0,  # no gradient, and nothing to write gradients to
        0,
        0,
        batch,
        weights.shape[0] if kernel.own_weights else 1,
        torch.get_num_threads(),
        0,  # no strides of a gradient
        0,
        kernel.one_by_one,
        *_fields_of(series),
    )
    return outputs


def call_backward(
    kernel: CircuitKernel,
    inputs: Tensor,
    weights: Tensor,
    gradient: Tensor,
    outputs: Tensor | None = None,
    series: SeriesArguments | None = None,
) -> tuple[Tensor, Tensor]:
    """Pull a gradient back through circuits.

    Args:
        kernel: As `call_forward`.
        inputs: As `call_forward`.
        weights: As `call_forward`.
        gradient: dL/d(outputs), of any strides; for a series contiguous room for it.
        outputs: For a series the outputs that `call_forward` returned.
        series: As `call_forward`.

    Returns:
        dL/d(inputs) and dL/d(weights).

    Raises:
        InvalidArgument: As `call_forward`.
        MemoryError: As `call_forward`.
    """
    batch = inputs.shape[0]
    n_sets = weights.shape[0] if kernel.own_weights else 1
    to_inputs = torch.empty_like(inputs)
    to_weights = torch.empty_like(weights)
    # The kernels write the gradient of own weights for each point.
    is_direct = not kernel.own_weights or n_sets == batch
    to_written = to_weights if is_direct else weights.new_empty((batch, *weights.shape[1:]))
    row_stride, column_stride = gradient.stride()
    _run(
        kernel,
        kernel.program.address,
        inputs.data_ptr(),
        weights.data_ptr(),
        _address(outputs),
        _address(gradient),
        to_inputs.data_ptr(),
        to_written.data_ptr(),
        batch,
        n_sets,
        torch.get_num_threads(),
        row_stride,
        column_stride,
        kernel.one_by_one,
        *_fields_of(series),
    )
    if not is_direct:
        of_points = to_written.view(n_sets, batch // n_sets, *weights.shape[1:])
        torch.sum(of_points, 1, out=to_weights)
    return to_inputs, to_weights


def _run(kernel: CircuitKernel, *fields: int) -> None:
    """Call a kernel with the fields of a `Call`, in their order."""
    failure = kernel.function(_pack_call(*fields))
    if failure == _NOT_FINITE:
        reason = "every angle must be a finite number of radians"
        raise InvalidArgument.that("weights", "holds NaN or infinity", reason)
    if failure:
        raise MemoryError("no memory for the states of the circuits")


def _fields_of(series: SeriesArguments | None) -> tuple[int, ...]:
    """Return the last fields of a `Call`."""
    if series is None:
        return _NO_SERIES
    return *map(_address, series), series.transform.shape[1]


def _address(tensor: Tensor | None) -> int:
    """Return where a tensor's numbers are; 0 for none."""
    if tensor is None:
        return 0
    address = tensor.data_ptr()
    # A fake tensor has no memory, nor have the zeros that some derivatives are made of.
    if not address and tensor.numel():
        fault = f"of shape {tuple(tensor.shape)} has no memory"
        raise InvalidArgument.that("a tensor", fault, "the kernels take real ones")
    return address
