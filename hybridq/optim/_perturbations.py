"""The factor that multiplies the gradient term of `SuperpositionalAdam`.

It is the paper's sine, or one of the functions and noises that an ablation puts in its place.
"""

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
    "GaussianNoise",
    "NoPerturbation",
    "Part",
    "Perturbations",
    "Place",
    "Sign",
    "Sine",
    "UniformNoise",
    "perturbation",
]


class Part(NamedTuple):
    """The chosen entries of a tensor that lie on this rank, when ranks share the tensor."""

    n_entries: int
    """The number of chosen entries on all ranks together."""
    pick: Callable[[Tensor], Tensor]
    """Takes a number for each chosen entry, shape (n_entries,), and returns those of this rank."""


class Place(NamedTuple):
    """The tensor that is perturbed.

    Together with the step it is all that a noise depends on, so a resumed run draws the same
    numbers.
    """

    group: int
    """The position of its parameter group."""
    tensor: int
    """Its position in the group."""
    part: Part | None = None
    """The chosen entries that are meant; None means all of them."""


@dataclass(frozen=True)
class AbstractPerturbation(ABC):
    """The factor f in Q = f * g.

    A subclass has a `name`, the word that a checkpoint holds, and fills in `factors`.
    `factors` gets many tensors in one call, so that a perturbation that asks a circuit for the
    sine (SPEC S14) can send all of them as one job.

    Args:
        seed: The source of the random numbers. A function of theta alone does not use it.

    Raises:
        InvalidArgument: If `seed` is not a non-negative integer.
    """

    name: ClassVar[str]
    capturable: ClassVar[bool] = False
    """Whether a CUDA graph or a compiler can record it, as it can torch operations on theta."""
    seed: int = 0

    def __post_init__(self) -> None:
        derive(self.seed)

    @abstractmethod
    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        """Return the factors of several tensors, joined.

        Args:
            thetas: The chosen entries of each tensor before the step, shape (entries,), float32 or
                float64 (SPEC S18), in half turns: the sine takes pi * theta.
            step: The number of updates these tensors have had, this one included.
            places: The place of each tensor.

        Returns:
            A new tensor of shape (all entries,), in the order and dtype of `thetas`.
        """


class _Wave(AbstractPerturbation):
    """A function of each theta by itself, which is evaluated on all of them at once."""

    capturable = True

    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        """Apply the function to the joined tensors."""
        del step, places
        return self._at(torch.cat(list(thetas)) if len(thetas) > 1 else thetas[0].clone())

    @abstractmethod
    def _at(self, theta: Tensor) -> Tensor:
        """Return the factor at `theta`, a tensor that may be overwritten."""


class Sine(_Wave):
    """f = sin(pi theta), the paper's factor (SPEC S13).

    It is -<Z> of a qubit after H and RY(pi theta), which a circuit without entanglement would
    measure (SPEC S14, `analytic`). `CircuitPerturbation` runs that circuit.

    Example:
        >>> Sine().factors([torch.tensor([0.0, 0.5])], 1, [Place(0, 0)])
        tensor([0., 1.])

    Reference: arXiv 2511.01918, equation (2). A. E. Pamuk, E. K. Özdemir and Ş. T. Kocabay,
    "Superpositional Gradient Descent: Harnessing Quantum Principles for Model Training", 2025.
    """

    name = "sine"

    def _at(self, theta: Tensor) -> Tensor:
        return theta.mul_(math.pi).sin_()


class Cosine(_Wave):
    """f = cos(pi theta), which is near 1 for small weights, where the sine is near 0."""

    name = "cosine"

    def _at(self, theta: Tensor) -> Tensor:
        return theta.mul_(math.pi).cos_()


class Sign(_Wave):
    """f = sign(sin(pi theta)), the direction of the sine without its size."""

    name = "sign"

    def _at(self, theta: Tensor) -> Tensor:
        return theta.mul_(math.pi).sin_().sign_()


class NoPerturbation(_Wave):
    """f = 0, so that Adam remains. `SuperpositionalAdam` then does no work for it."""

    name = "none"

    def _at(self, theta: Tensor) -> Tensor:
        return theta.zero_()


class _Noise(AbstractPerturbation):
    """Random numbers, a pure function of (seed, step, group, tensor).

    They are drawn on the CPU and are therefore the same for every device.
    """

    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        """Draw for each tensor from a stream of its own."""
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
    """f ~ N(0, 1). It is not bounded, so an entry may climb at any strength."""

    name = "gaussian_noise"

    def _draw(self, out: Tensor, source: torch.Generator) -> Tensor:
        return out.normal_(generator=source)


class UniformNoise(_Noise):
    """f uniform on [-1, 1], the range of the sine."""

    name = "uniform_noise"

    def _draw(self, out: Tensor, source: torch.Generator) -> Tensor:
        return out.uniform_(-1, 1, generator=source)


KNOWN: dict[str, type[AbstractPerturbation]] = {
    kind.name: kind for kind in (Sine, Cosine, Sign, NoPerturbation, GaussianNoise, UniformNoise)
}


def perturbation(name: str, seed: int = 0) -> AbstractPerturbation:
    """Make a perturbation of this file from the plain values that a checkpoint holds.

    Args:
        name: The `name` of its class.
        seed: Its `seed`.

    Returns:
        The perturbation.

    Raises:
        UnknownName: If no perturbation has this name.
        InvalidArgument: If `name` is no string.
        InvalidArgument: If `seed` is not a non-negative integer.

    Example:
        >>> perturbation("uniform_noise", seed=3)
        UniformNoise(seed=3)
    """
    names = ", ".join(KNOWN)
    if not isinstance(name, str):
        raise InvalidArgument.of(
            "perturbation", name, f"give a perturbation object or one of the names {names}"
        )
    if name not in KNOWN:
        raise UnknownName.among("perturbation", name, KNOWN)
    return KNOWN[name](seed)


class Perturbations:
    """The perturbation objects of an optimizer, whose groups hold only names and seeds."""

    def __init__(self) -> None:
        self._given: dict[str, AbstractPerturbation] = {}
        # A perturbation of this file is made once, because a compiler cannot follow its making.
        self._made: dict[tuple[str, int], AbstractPerturbation] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of earlier versions call the two dictionaries _own and _known.
        self._given = state["_own"] if "_own" in state else state["_given"]
        self._made = state["_known"] if "_known" in state else state["_made"]

    def keep(self, given: AbstractPerturbation) -> None:
        """Remember a perturbation object that the user gave.

        Raises:
            InvalidArgument: If another perturbation has its name.
        """
        if given.name in KNOWN:
            held = perturbation(given.name, given.seed)
        else:
            held = self._given.setdefault(given.name, given)
        if held != given:
            reason = f"the name {given.name!r} belongs to {held!r}; give this one another"
            raise InvalidArgument.of("perturbation", given, reason)

    def of(self, group: Mapping[str, Any]) -> AbstractPerturbation:
        """Return the perturbation of a group.

        Raises:
            UnknownName: If no perturbation has the name in the group.
        """
        name = group["perturbation"]
        given = self._given.get(name)
        if given is not None:
            return given
        seed = group["seed"]
        if (name, seed) not in self._made:
            self._made[name, seed] = perturbation(name, seed)
        return self._made[name, seed]


Forms = Perturbations  # Pickles of earlier versions call the class so.
