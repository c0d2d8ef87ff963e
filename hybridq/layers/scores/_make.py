"""A score, made from its name, its class or a function."""

from collections.abc import Callable
from typing import Any

from hybridq import catalogue
from hybridq.errors import InvalidArgument
from hybridq.layers.scores._score import AbstractScore

__all__ = ["ScoreFactory", "make_score"]

ScoreFactory = Callable[[int, int], AbstractScore]
"""A class of scores, or a function of the number of heads and their size that returns a score."""


def make_score(
    score: str | AbstractScore | ScoreFactory, num_heads: int, head_dim: int
) -> AbstractScore:
    """Return the score that a name, a class, a function or a score means for these heads.

    Args:
        score: The name of a file of `hybridq.layers.scores`, "package.module:Class", a class or
            function that is called with `num_heads` and `head_dim`, or a score.
        num_heads: Number of heads.
        head_dim: Size of a head.

    Returns:
        The score.

    Raises:
        UnknownName: If there is no score of this name.
        InvalidArgument: If the score is for other heads, or the argument gives no score.
    """
    made: Any = catalogue.load("layers.scores", score) if isinstance(score, str) else score
    if not isinstance(made, AbstractScore) and callable(made):
        made = made(num_heads, head_dim)
    if not isinstance(made, AbstractScore):
        reason = "give the name of a score, a class derived from AbstractScore, or an object of one"
        raise InvalidArgument.of("score", score, reason)
    if (made.num_heads, made.head_dim) != (num_heads, head_dim):
        heads = f"{made.num_heads} heads of size {made.head_dim}"
        reason = f"it is made for {heads}, and here are {num_heads} of size {head_dim}"
        raise InvalidArgument.of("score", type(made).__name__, reason)
    return made
