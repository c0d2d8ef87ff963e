"""Every error that hybridq raises on purpose.

Each message names the argument, the value that was given and the way out. All of them derive from
`HybridqError`, and from the built-in error a caller would expect, so that both `except
HybridqError` and `except ValueError` work.
"""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "BackendUnavailable",
    "BudgetExceeded",
    "CheckpointMismatch",
    "DataCorrupted",
    "DataNotFound",
    "HybridqError",
    "InvalidArgument",
    "MissingExtra",
    "NonAffineAngle",
    "NotDifferentiable",
    "QuantumNoOpWarning",
    "UnknownName",
    "UnsupportedEncoding",
    "require",
]


class HybridqError(Exception):
    """The base of all errors of hybridq."""


class InvalidArgument(HybridqError, ValueError):
    """An argument has a value that cannot be used."""

    @classmethod
    def of(cls, argument: str, value: object, reason: str) -> "InvalidArgument":
        """Name the argument, show its value, say why it fails and what to do."""
        return cls(f"{argument}={value!r}: {reason}")

    @classmethod
    def that(cls, argument: str, fault: str, reason: str) -> "InvalidArgument":
        """Say in words what is wrong with an argument whose value is too long to show.

        Args:
            argument: The argument's name.
            fault: A phrase that begins with a verb: "holds NaN or infinity".
            reason: Why that fails and what to do.

        Example:
            >>> print(InvalidArgument.that("weights", "holds NaN", "give finite angles"))
            weights holds NaN: give finite angles
        """
        return cls(f"{argument} {fault}: {reason}")


class UnknownName(InvalidArgument):
    """A name that is in no catalogue. The message lists the nearest ones."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> "UnknownName":
        """Build the message for `name`, an unknown `kind`, from the `known` names."""
        names = sorted(known)
        nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
        return cls(f"unknown {kind} {name!r}. {hint}Known: {', '.join(names)}.")


class NonAffineAngle(InvalidArgument):
    """A gate angle is not of the form a*x + b*w + c, so the circuit cannot be traced."""


class UnsupportedEncoding(InvalidArgument):
    """The Fourier form does not exist for this encoding; the per-score route does."""


class MissingExtra(HybridqError, ImportError):
    """An optional dependency is not installed."""


class BackendUnavailable(HybridqError, RuntimeError):
    """The backend cannot do what was asked here. Nothing else is tried in its place."""


class NotDifferentiable(HybridqError, RuntimeError):
    """An operation was differentiated or transformed in a way that it does not support.

    A second derivative of an operation that is differentiable once, and the transforms of
    torch.func. Without this error the answer would be silently wrong.
    """


class BudgetExceeded(HybridqError, RuntimeError):
    """A job would cost more QPU time than is allowed. Nothing was sent.

    Args:
        estimate: What the job would cost, in QPU seconds.
        spent: What the run has cost so far, in QPU seconds.
        limit: What the run may cost, in QPU seconds.
    """

    def __init__(self, estimate: float, spent: float, limit: float) -> None:
        super().__init__(
            f"max_qpu_seconds={limit:g}: the run has used {spent:.3g} s, and this would take "
            f"another {estimate:.3g} s of QPU time (an estimate). Nothing was sent. Use fewer "
            "shots or circuits, or raise max_qpu_seconds"
        )
        self.estimate, self.spent, self.limit = estimate, spent, limit

    def __reduce__(self) -> tuple[type["BudgetExceeded"], tuple[float, float, float]]:
        return type(self), (self.estimate, self.spent, self.limit)


class DataNotFound(HybridqError, FileNotFoundError):
    """A data directory or one of its files does not exist."""


class DataCorrupted(HybridqError, ValueError):
    """A data file is truncated or malformed."""


class CheckpointMismatch(HybridqError, ValueError):
    """A checkpoint does not fit the model it is loaded into."""


class QuantumNoOpWarning(UserWarning):
    """The quantum part of a layer cannot change its output."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency.

    Args:
        module: The dotted name to import.
        extra: The extra of hybridq-toolkit that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtra: If it is not installed; the message gives the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtra(
            f"{module} is not installed. Install it with: pip install 'hybridq-toolkit[{extra}]'",
            name=error.name,
        ) from error
