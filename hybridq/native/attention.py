"""The calls of the attention kernels: tensors go in, the kernels get addresses.

The structures are those of `attention_call.h`, which says what each field means.
"""

import ctypes
from ctypes import Structure, c_double, c_int64, c_uint64, c_void_p, sizeof
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.native.structures import packer

__all__ = [
    "MOST_DEGREE",
    "REGISTER_BYTES",
    "SIZES",
    "AttentionNumbers",
    "AttentionResult",
    "AttentionTensors",
    "SeriesPolynomials",
    "attend",
    "differentiate",
    "gradient_room",
    "n_terms",
    "output_room",
]

MOST_DEGREE = 127  # of a series, for which the kernels have room
REGISTER_BYTES = 64  # of the largest registers, which rows must fill

# Up to a degree of 8 there are 5 terms of each polynomial, whose sums are kept in registers.
_UNROLLED_DEGREE = 8
_UNROLLED_TERMS = 5
_WORK_OF_A_THREAD = 2**21  # multiply-adds that are worth a thread
_EVERY_KEY = 2**40
_HASHES = 2**32  # of dropout


class Array(Structure):
    """A tensor of four dimensions, the numbers of the last one side by side."""

    _fields_ = (
        ("data", c_void_p),
        ("batch_stride", c_int64),
        ("head_stride", c_int64),
        ("row_stride", c_int64),
    )


class Call(Structure):
    """A call, forward or backward."""

    _fields_ = (
        ("batch", c_int64),
        ("n_heads", c_int64),
        ("n_key_heads", c_int64),
        ("length", c_int64),
        ("n_keys", c_int64),
        ("head_size", c_int64),
        ("value_size", c_int64),
        ("n_threads", c_int64),
        ("n_coefficients", c_int64),
        ("coefficient_stride", c_int64),
        ("n_terms", c_int64),
        ("diagonal", c_int64),
        ("seed", c_uint64),
        ("keep_below", c_uint64),
        ("scale", c_double),
        ("frequency", c_double),
        ("keep_factor", c_double),
        ("q", Array),
        ("k", Array),
        ("v", Array),
        ("mask", Array),
        ("output", Array),
        ("to_output", Array),
        ("to_q", Array),
        ("to_k", Array),
        ("to_v", Array),
        ("coefficients", c_void_p),
        ("to_coefficients", c_void_p),
        ("saved", c_void_p),
        ("table", c_void_p),
    )


SIZES = {f"attention.{structure.__name__}": sizeof(structure) for structure in (Array, Call)}
_pack_call = packer(Call)
_NO_ARRAY = (0, 0, 0, 0)
_NO_GRADIENTS = _NO_ARRAY * 4


class AttentionTensors(NamedTuple):
    """The tensors of an attention, as `fourier_attention` describes them."""

    q: Tensor
    k: Tensor
    v: Tensor
    coefficients: Tensor | None
    mask: Tensor | None


class AttentionNumbers(NamedTuple):
    """The numbers of an attention.

    Args:
        scale: The factor of q k^T.
        frequency: The factor of the scaled score inside the series.
        dropout: The probability of dropping a weight.
        diagonal: Row i sees the keys up to i + diagonal; None for all keys.
    """

    scale: float
    frequency: float
    dropout: float
    diagonal: int | None


class SeriesPolynomials(NamedTuple):
    """How Fourier coefficients become the polynomials that the kernels sum.

    Args:
        n_terms: The number of terms of each of the four polynomials.
        table: From coefficients to the terms of A, B, C and E, and to those of frequency Phi':
            shape (n_coefficients, 2 * 4 * n_terms), float64.
    """

    n_terms: int
    table: Tensor


class AttentionResult(NamedTuple):
    """The output, and what the backward pass needs beside it.

    Args:
        output: Shape (batch, heads, length, value size).
        rows: Shape (batch, heads, length, 2): the largest logit of each row, and the factor of
            its exponentials.
    """

    output: Tensor
    rows: Tensor


def n_terms(degree: int) -> int:
    """Return the number of terms of each of the four polynomials of a series.

    Args:
        degree: The degree of the series, at most `MOST_DEGREE`.
    """
    if degree == 0:  # a constant, which cancels in softmax
        return 0
    if degree <= _UNROLLED_DEGREE:
        return _UNROLLED_TERMS
    return max(_UNROLLED_TERMS + 1, degree // 2 + 1)


def attend(
    library: ctypes.CDLL,
    tensors: AttentionTensors,
    numbers: AttentionNumbers,
    polynomials: SeriesPolynomials | None,
    seed: int,
) -> AttentionResult:
    """Attend, outside of autograd.

    Args:
        library: The kernels' library.
        tensors: Tensors of one dtype, float32 or float64, on the CPU, none of them empty.
        numbers: The numbers.
        polynomials: Those of the series; None if there are no coefficients.
        seed: The seed of dropout, of at most 62 bits.

    Returns:
        The output, and what `differentiate` needs.

    Raises:
        InvalidArgument: If head sizes do not fill registers of `REGISTER_BYTES`.
        MemoryError: If there is no room to work in.
    """
    rows = tensors.q.new_empty((*tensors.q.shape[:3], 2))
    result = AttentionResult(output_room(tensors.q, tensors.v), rows)
    problem = _Problem(tensors, numbers, polynomials, seed)
    _run(library, problem, result, _NO_GRADIENTS, 0)
    return result


def differentiate(
    library: ctypes.CDLL,
    gradient: Tensor,
    tensors: AttentionTensors,
    result: AttentionResult,
    numbers: AttentionNumbers,
    polynomials: SeriesPolynomials | None,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Pull a gradient back through `attend`.

    Args:
        library: As `attend`.
        gradient: dL/d(output).
        tensors: As `attend`.
        result: What `attend` returned.
        numbers: As `attend`.
        polynomials: As `attend`.
        seed: As `attend`.

    Returns:
        dL/dq, dL/dk, dL/dv and dL/d(coefficients); None for the last if there are none.

    Raises:
        InvalidArgument: As `attend`.
        MemoryError: As `attend`.
    """
    gradient = _with_dense_rows(gradient)
    to_q = gradient_room(tensors.q)
    to_k = gradient_room(tensors.k)
    to_v = gradient_room(tensors.v)
    to_coefficients = None
    if tensors.coefficients is not None:
        dense = torch.contiguous_format
        to_coefficients = torch.empty_like(tensors.coefficients, memory_format=dense)
    arrays = (*_array(gradient), *_array(to_q), *_array(to_k), *_array(to_v))
    address = 0 if to_coefficients is None else to_coefficients.data_ptr()
    problem = _Problem(tensors, numbers, polynomials, seed)
    _run(library, problem, result, arrays, address)
    return to_q, to_k, to_v, to_coefficients


def output_room(q: Tensor, v: Tensor) -> Tensor:
    """Return room for the output, laid out as q is.

    Heads are inside of positions if q has them so, as a view of a projection does.
    """
    batch, heads, length, _ = q.shape
    if q.stride(1) < q.stride(2):
        return q.new_empty(batch, length, heads, v.shape[3]).transpose(1, 2)
    return q.new_empty(batch, heads, length, v.shape[3])


def gradient_room(x: Tensor) -> Tensor:
    """Return room for the gradient of a tensor, laid out as x is if that has dense rows."""
    room = torch.empty_like(x)
    return room if room.stride(3) == 1 else x.new_empty(x.shape)


class _Problem(NamedTuple):
    tensors: AttentionTensors
    numbers: AttentionNumbers
    polynomials: SeriesPolynomials | None
    seed: int


def _run(
    library: ctypes.CDLL,
    problem: _Problem,
    result: AttentionResult,
    gradients: tuple[int, ...],
    to_coefficients: int,
) -> None:
    """Call a kernel.

    Args:
        library: The kernels' library.
        problem: What is computed.
        result: Where it goes, or in a backward call what it was.
        gradients: The arrays of dL/d(output), dL/dq, dL/dk and dL/dv.
        to_coefficients: The address of dL/d(coefficients), or 0.
    """
    size, value_size = problem.tensors.q.shape[3], problem.tensors.v.shape[3]
    if (size | value_size) % (REGISTER_BYTES // problem.tensors.q.element_size()):
        raise InvalidArgument.of(
            "head sizes",
            (size, value_size),
            f"pad them to fill registers of {REGISTER_BYTES} bytes",
        )
    tensors = _with_dense_rows_all(problem.tensors)  # which must live until the kernel returns
    q, k, v, coefficients, mask = tensors
    call = _pack_call(
        *_sizes(q, v),
        *_series(coefficients, problem.polynomials),
        *_numbers(problem.numbers, problem.seed),
        *_array(q),
        *_array(k),
        *_array(v),
        *(_NO_ARRAY if mask is None else _array(mask)),
        *_array(result.output),
        *gradients,
        0 if coefficients is None else coefficients.data_ptr(),
        to_coefficients,
        result.rows.data_ptr(),
        0 if problem.polynomials is None else problem.polynomials.table.data_ptr(),
    )
    if _function(library, q.dtype)(call):
        raise MemoryError("no memory for the scratch space of attention")


def _sizes(q: Tensor, v: Tensor) -> tuple[int, ...]:
    """Return the fields of a `Call` from `batch` to `n_threads`."""
    batch, heads, length, size = q.shape
    _, key_heads, keys, value_size = v.shape
    work = batch * heads * length * keys * (size + value_size)
    n_threads = max(1, min(torch.get_num_threads(), work // _WORK_OF_A_THREAD))
    return batch, heads, key_heads, length, keys, size, value_size, n_threads


def _series(
    coefficients: Tensor | None, polynomials: SeriesPolynomials | None
) -> tuple[int, int, int]:
    """Return the fields of a `Call` from `n_coefficients` to `n_terms`."""
    if coefficients is None or polynomials is None:
        return 0, 0, 0
    return coefficients.shape[1], coefficients.stride(0), polynomials.n_terms


def _numbers(numbers: AttentionNumbers, seed: int) -> tuple[int, int, int, float, float, float]:
    """Return the fields of a `Call` from `diagonal` to `keep_factor`."""
    scale, frequency, dropout, diagonal = numbers
    last = _EVERY_KEY if diagonal is None else max(-_EVERY_KEY, min(diagonal, _EVERY_KEY))
    if not dropout:
        return last, seed, 0, scale, frequency, 1.0
    # A weight is kept if a hash of 32 bits is below the limit.
    limit = min(max(round((1 - dropout) * _HASHES), 1), _HASHES - 1)
    return last, seed, limit, scale, frequency, _HASHES / limit


@lru_cache(maxsize=16)
def _function(library: ctypes.CDLL, dtype: torch.dtype) -> Any:
    function = library["hq_attention_float" if dtype == torch.float32 else "hq_attention_double"]
    function.argtypes = (ctypes.c_char_p,)
    function.restype = ctypes.c_int
    return function


def _array(x: Tensor) -> tuple[int, ...]:
    """Return the fields of an `Array`."""
    return x.data_ptr(), *x.stride()[:3]


def _with_dense_rows_all(tensors: AttentionTensors) -> AttentionTensors:
    """Return the tensors with dense rows, the mask in the shape of the scores."""
    q, k, v, coefficients, mask = tensors
    if mask is not None:
        # Of the mask only the keys need memory of their own.
        mask = _with_dense_rows(mask.expand(*mask.shape[:-1], k.shape[2]))
        mask = mask.expand(*q.shape[:3], k.shape[2])
    if coefficients is not None:
        coefficients = _with_dense_rows(coefficients)
    return AttentionTensors(
        _with_dense_rows(q), _with_dense_rows(k), _with_dense_rows(v), coefficients, mask
    )


def _with_dense_rows(x: Tensor) -> Tensor:
    """Return the same with the numbers of each row side by side; what is expanded stays so."""
    x = x.resolve_neg()
    if x.stride(-1) == 1:
        return x
    once = x[tuple(slice(None if step else 1) for step in x.stride()[:-1])]
    return once.contiguous().expand(x.shape)
