"""The judgement of a backend: whether it deviates by more than shot noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hybridq.study.sections import Badge

__all__ = ["LEVEL", "Kind", "Verdict", "combined_p", "kind_of"]

LEVEL = 0.05
Kind = Literal["reference", "equal", "within shot noise", "beyond shot noise", "different"]
_BADGES: dict[Kind, Badge] = {
    "reference": "open",
    "equal": "good",
    "within shot noise": "good",
    "beyond shot noise": "bad",
    "different": "bad",
}


@dataclass(frozen=True)
class Verdict:
    """The judgement of one backend.

    Args:
        kind: The judgement. "equal" and "different" are said of exact backends, where no test is
            needed.
        sentences: The reasons, and what the backend does to the model.
        p: The result of `combined_p`, by Holm's method for all backends together; None without a
            test.
    """

    kind: Kind
    sentences: tuple[str, ...]
    p: float | None = None

    @property
    def badge(self) -> Badge:
        """How the judgement looks on a page."""
        return _BADGES[self.kind]

    @property
    def deviates(self) -> bool:
        """Whether shot noise does not explain the difference."""
        return self.badge == "bad"


def combined_p(p_values: Sequence[float]) -> float | None:
    """Make one p-value of several tests, by Bonferroni's correction.

    Args:
        p_values: The p-values of the tests, each of which sees what the others miss.

    Returns:
        The p-value of all together; None without a test.
    """
    return min(1.0, len(p_values) * min(p_values)) if p_values else None


def kind_of(p: float | None, differs: bool) -> Kind:
    """Judge a backend.

    Args:
        p: The p-value of all tests, corrected for the number of backends; None if both are exact.
        differs: Whether exact results differ by more than rounding.

    Returns:
        The judgement.
    """
    if p is None:
        return "different" if differs else "equal"
    return "beyond shot noise" if p < LEVEL else "within shot noise"
