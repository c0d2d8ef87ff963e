"""Symbolic angles: the arguments of an ansatz's `apply` when a circuit is traced."""

from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal, NoReturn

import autoray  # type: ignore[import-untyped]
import numpy as np

from hybridq.errors import NonAffineAngle

__all__ = ["Angle", "Symbol", "as_angle", "symbols"]

Symbol = tuple[Literal["x", "w"], int]  # an input or a weight, by its flat index


@dataclass(frozen=True, eq=False)
class Angle:
    """The affine form sum_i a_i x_i + sum_j b_j w_j + c, in radians.

    Args:
        terms: The factors a and b, by symbol; a symbol that is absent has the factor 0.
        constant: The constant c, in radians.
    """

    terms: dict[Symbol, float] = field(default_factory=dict)
    constant: float = 0.0

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Real):
            return Angle(self.terms, self.constant + float(other))
        if isinstance(other, Angle):
            terms = dict(self.terms)
            for symbol, factor in other.terms.items():
                terms[symbol] = terms.get(symbol, 0.0) + factor
            return Angle(
                {s: f for s, f in terms.items() if f != 0.0}, self.constant + other.constant
            )
        return NotImplemented

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Real):
            factor = float(other)
            terms = {symbol: f * factor for symbol, f in self.terms.items()} if factor else {}
            return Angle(terms, self.constant * factor)
        if isinstance(other, Angle):
            self._refuse()
        return NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self * (1.0 / float(other)) if isinstance(other, Real) else NotImplemented

    def __neg__(self) -> Any:
        return self * -1.0

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return (-self) + other

    def _refuse(self, *_: Any) -> NoReturn:
        raise NonAffineAngle(
            f"the angle {self} is used in a way that is not affine in inputs and weights, so the "
            "circuit cannot be traced. Keep angles of the form a*x + b*w + c, or run the circuit "
            "on a PennyLane backend such as backend='default.qubit', which calls the ansatz with "
            "plain numbers."
        )

    # NumPy calls the method of the function's name on an object: np.sin(angle) is angle.sin().
    __pow__ = __rpow__ = __rtruediv__ = __float__ = __abs__ = __mod__ = _refuse
    sin = cos = tan = arcsin = arccos = arctan = tanh = exp = log = sqrt = square = _refuse

    def __str__(self) -> str:
        factors = {1.0: "", -1.0: "-"}
        parts = [
            f"{factors.get(a, f'{a:g}*')}{kind}{index}"
            for (kind, index), a in sorted(self.terms.items())
        ]
        if self.constant or not parts:
            parts.append(f"{self.constant:g}")
        return " + ".join(parts)


# PennyLane's decompositions of CRX and U2 write pi/2 as ones_like(angle) * pi / 2. Autoray looks
# the function up by the package of the angle's class.
autoray.register_function("hybridq", "ones_like", lambda _: 1.0)


def symbols(
    kind: Literal["x", "w"], shape: tuple[int, ...]
) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Make an array with one symbol in each place.

    Args:
        kind: "x" for inputs, "w" for weights.
        shape: The shape of the array.

    Returns:
        An object array of `Angle`; each has the flat index of its place.
    """
    size = int(np.prod(shape))
    array = np.empty(size, dtype=object)
    array[:] = [Angle({(kind, i): 1.0}) for i in range(size)]
    return array.reshape(shape)


def as_angle(value: Any) -> Angle:
    """Turn a gate parameter into an `Angle`.

    Args:
        value: An angle, a number, or a zero-dimensional array of one of them.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    return value if isinstance(value, Angle) else Angle({}, float(value))
