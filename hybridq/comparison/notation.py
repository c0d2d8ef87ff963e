"""How numbers, intervals and p-values are written."""

from collections.abc import Sequence

__all__ = ["DASH", "decimals", "interval", "percent", "signed", "small_p"]

DASH = "\u2013"  # stands for a number that does not exist
_MINUS = "\u2212"


def decimals(value: float | None, digits: int) -> str:
    """Write a number with commas between thousands; a dash for None.

    Example:
        >>> decimals(12345.678, 1), decimals(None, 1) == DASH
        ('12,345.7', True)
    """
    return DASH if value is None else f"{value:,.{digits}f}"


def signed(value: float, digits: int) -> str:
    """Write a number with its sign, and a true minus."""
    return f"{value:+.{digits}f}".replace("-", _MINUS)


def percent(part: float, digits: int) -> str:
    """Write a part of one in percent.

    Example:
        >>> percent(0.25, 1), percent(1e-9, 1)
        ('25.0 %', 'less than 0.1 %')
    """
    if 0 < part < 0.5 * 10.0 ** -(digits + 2):
        return f"less than {10.0**-digits:.{digits}f} %"
    return f"{100 * part:.{digits}f} %"


def interval(bounds: Sequence[float], digits: int, scale: float = 1.0, unit: str = "") -> str:
    """Write an interval.

    Args:
        bounds: The lower and the upper bound.
        digits: The decimals.
        scale: A factor of both, for example 100 for percent.
        unit: The text after the upper bound, for example " %".

    Example:
        >>> interval((0.25, 0.5), 1, 100, " %")
        '25.0 to 50.0 %'
    """
    low, high = (f"{scale * bound:.{digits}f}".replace("-", _MINUS) for bound in bounds)
    return f"{low} to {high}{unit}"


def small_p(p: float) -> str:
    """Write a p-value.

    Example:
        >>> small_p(0.04321), small_p(1e-9)
        ('p = 0.043', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
