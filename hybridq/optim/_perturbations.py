"""What multiplies the gradient term of `SuperpositionalAdam`: the paper's sine, and what an ablation puts in its place."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument, UnknownName
from hybridq.seeding import derive, generator

__all__ = [
    "KNOWN",
    "AbstractPerturbation",
    "Cosine",
    "Forms",
    "GaussianNoise",
    "NoPerturbation",
    "Part",
    "Place",
    "Sign",
    "Sine",
    "UniformNoise",
    "perturbation",
]


class Part(NamedTuple):
    """Which of a tensor's chosen entries lie here, when the tensor is spread over several ranks."""

    n_entries: int
    """How many are chosen on all ranks together."""
    pick: Callable[[Tensor], Tensor]
    """Takes something for each of them, shape (n_entries,), and returns what belongs to those here."""


class Place(NamedTuple):
    """Which tensor is perturbed. With the step it is all that a noise depends on, so that a resumed run draws the same."""

    group: int
    """The position of its parameter group."""
    tensor: int
    """Its position in the group."""
    part: Part | None = None
    """Which of its chosen entries are meant; None is all of them."""


@dataclass(frozen=True)
class AbstractPerturbation(ABC):
    """The factor f in Q = f * g.

    A subclass names itself in `name`, which is what a checkpoint holds, and fills in `factors`. One
    that asks a circuit for the sine (SPEC S14) gets many tensors in one call, so that it can send
    them off as one job.

    Args:
        seed: The source of its random numbers; without meaning for a function of theta alone.

    Raises:
        InvalidArgument: If `seed` is not a non-negative integer.
    """

    name: ClassVar[str]
    capturable: ClassVar[bool] = False
    """Whether it is torch operations on theta alone, which a CUDA graph or a compiler can record."""
    seed: int = 0

    def __post_init__(self) -> None:
        derive(self.seed)

    @abstractmethod
    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        """Return the factors of several tensors, joined.

        Args:
            thetas: The chosen entries of each tensor before the step, shape (entries,), float32 or
                float64 (SPEC S18). The unit is half turns: the sine takes pi * theta.
            step: How many updates these tensors have had, this one included.
            places: The place of each tensor.

        Returns:
            A new tensor of shape (all entries,), in the order and dtype of `thetas`.
        """


class _Wave(AbstractPerturbation):
    """A function of each theta by itself, which can be evaluated on all of them at once."""

    capturable = True

    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        """Apply the function to the joined tensors."""
        del step, places
        return self._at(torch.cat(list(thetas)) if len(thetas) > 1 else thetas[0].clone())

    @abstractmethod
    def _at(self, theta: Tensor) -> Tensor:
        """Turn `theta` into the factor, in place if it likes."""


class Sine(_Wave):
    """The paper's sin(pi theta) (SPEC S13).

    It is -<Z> of a qubit after H and RY(pi theta): what a circuit without entanglement would answer
    (SPEC S14, `analytic`).

    Example:
        >>> Sine().factors([torch.tensor([0.0, 0.5])], 1, [Place(0, 0)])
        tensor([0., 1.])

    Reference: arXiv 2511.01918, equation (2).
    """

    name = "sine"

    def _at(self, theta: Tensor) -> Tensor:
        return theta.mul_(math.pi).sin_()


class Cosine(_Wave):
    """cos(pi theta): near 1 for small weights, where the sine is near 0."""

    name = "cosine"

    def _at(self, theta: Tensor) -> Tensor:
        return theta.mul_(math.pi).cos_()


class Sign(_Wave):
    """The sign of sin(pi theta): the sine's direction without its size."""

    name = "sign"

    def _at(self, theta: Tensor) -> Tensor:
        return theta.mul_(math.pi).sin_().sign_()


class NoPerturbation(_Wave):
    """Zero: what remains is Adam. `SuperpositionalAdam` then does no work for it."""

    name = "none"

    def _at(self, theta: Tensor) -> Tensor:
        return theta.zero_()


class _Noise(AbstractPerturbation):
    """Random numbers: a pure function of (seed, step, group, tensor), drawn on the CPU, so the same for every device."""

    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        """Draw for each tensor from its own stream."""
        draws = []
        for theta, place in zip(thetas, places, strict=True):
            source = generator(self.seed, self.name, step, place.group, place.tensor)
            n_entries = len(theta) if place.part is None else place.part.n_entries
            draw = self._draw(torch.empty(n_entries, dtype=theta.dtype), source)
            draws.append((draw if place.part is None else place.part.pick(draw)).to(theta.device))
        return torch.cat(draws) if len(draws) > 1 else draws[0]

    @abstractmethod
    def _draw(self, out: Tensor, source: torch.Generator) -> Tensor:
        """Fill `out` from `source`."""


class GaussianNoise(_Noise):
    """N(0, 1): not bounded, so that a coordinate may climb at any strength."""

    name = "gaussian_noise"

    def _draw(self, out: Tensor, source: torch.Generator) -> Tensor:
        return out.normal_(generator=source)


class UniformNoise(_Noise):
    """Uniform on [-1, 1], the range of the sine."""

    name = "uniform_noise"

    def _draw(self, out: Tensor, source: torch.Generator) -> Tensor:
        return out.uniform_(-1, 1, generator=source)


KNOWN: dict[str, type[AbstractPerturbation]] = {
    kind.name: kind for kind in (Sine, Cosine, Sign, NoPerturbation, GaussianNoise, UniformNoise)
}


def perturbation(name: str, seed: int = 0) -> AbstractPerturbation:
    """Make a perturbation of this file from the plain values that a checkpoint holds.

    Args:
        name: Its `name`.
        seed: Its `seed`.

    Returns:
        The perturbation.

    Raises:
        UnknownName: If there is none of this name.
        InvalidArgument: If `seed` is not a non-negative integer.

    Example:
        >>> perturbation("uniform_noise", seed=3)
        UniformNoise(seed=3)
    """
    if not isinstance(name, str):
        raise InvalidArgument.of(
            "perturbation",
            name,
            f"give a perturbation object or one of the names {', '.join(KNOWN)}",
        )
    if name not in KNOWN:
        raise UnknownName.among("perturbation", name, KNOWN)
    return KNOWN[name](seed)


class Forms:
    """The perturbations of an optimizer, whose groups hold only names and seeds."""

    def __init__(self) -> None:
        self._own: dict[str, AbstractPerturbation] = {}
        self._known: dict[
            tuple[str, int], AbstractPerturbation
        ] = {}  # made once: a compiler cannot follow how

    def keep(self, form: AbstractPerturbation) -> None:
        """Remember a perturbation of the user's own.

        Raises:
            InvalidArgument: If another one has its name.
        """
        known = form.name in KNOWN
        held = (
            perturbation(form.name, form.seed) if known else self._own.setdefault(form.name, form)
        )
        if held != form:
            reason = f"the name {form.name!r} belongs to {held!r}; give this one another"
            raise InvalidArgument.of("perturbation", form, reason)

    def of(self, group: Mapping[str, Any]) -> AbstractPerturbation:
        """The perturbation of a group.

        Raises:
            UnknownName: If there is none of this name.
        """
        name, seed = group["perturbation"], group["seed"]
        own = self._own.get(name)
        if own is not None:
            return own
        if (name, seed) not in self._known:
            self._known[name, seed] = perturbation(name, seed)
        return self._known[name, seed]
