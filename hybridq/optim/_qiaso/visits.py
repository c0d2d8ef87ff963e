"""Putting parameters at a candidate, and back at the centre."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hybridq.optim._qiaso.candidates import Candidate
from hybridq.optim._qiaso.layout import Layout
from hybridq.optim._qiaso.population import Population

__all__ = ["visiting"]


@contextmanager
def visiting(layout: Layout, population: Population) -> Iterator[Callable[[Candidate], None]]:
    """Give a function that puts the parameters at a candidate; afterwards they are at the centre.

    Args:
        layout: The parameters, which are at the centre.
        population: The candidates.

    Yields:
        The function.
    """
    centres = [block.read(layout.params) for block in layout.blocks]
    blocks = list(zip(layout.blocks, centres, strict=True))
    moved: set[int] = set()

    def visit(candidate: Candidate) -> None:
        for block, centre in blocks:
            if block.holds(candidate.unit):
                moved.add(block.number)
                block.write(layout.params, population.entries_at(block, centre, candidate))
            elif block.number in moved:
                moved.remove(block.number)
                block.write(layout.params, centre)

    try:
        yield visit
    finally:
        for block, centre in blocks:
            block.write(layout.params, centre)
