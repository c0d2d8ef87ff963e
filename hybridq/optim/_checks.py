"""Checks of arguments that all optimizers share."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from hybridq.errors import InvalidArgument

__all__ = [
    "check_choices",
    "check_flag",
    "check_non_negative",
    "check_positive_integer",
    "is_number",
]


def is_number(value: object) -> bool:
    """Return whether a value is a finite real number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_non_negative(argument: str, value: object) -> None:
    """Refuse a value that is no finite number of at least 0.

    Args:
        argument: The name of the argument.
        value: Its value.

    Raises:
        InvalidArgument: If it is none.
    """
    if not is_number(value) or value < 0:  # type: ignore[operator]
        raise InvalidArgument.of(argument, value, "give a finite number, at least 0")


def check_positive_integer(argument: str, value: object) -> None:
    """Refuse a value that is no positive integer.

    Args:
        argument: The name of the argument.
        value: Its value.

    Raises:
        InvalidArgument: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument.of(argument, value, "give a positive integer")


def check_flag(argument: str, value: object) -> None:
    """Refuse a value that is neither True nor False.

    Args:
        argument: The name of the argument.
        value: Its value.

    Raises:
        InvalidArgument: If it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidArgument.of(argument, value, "give True or False")


def check_choices(options: object, choices: Mapping[str, Any]) -> None:
    """Refuse options whose value is none of the possible ones.

    Args:
        options: An options object.
        choices: The `Literal` with the possible values of each field that is checked.

    Raises:
        InvalidArgument: For the first field whose value is not among them.
    """
    for argument, choice in choices.items():
        known = get_args(choice)
        value = getattr(options, argument)
        if value not in known:
            reason = f"choose one of {', '.join(map(repr, known))}"
            raise InvalidArgument.of(argument, value, reason)
