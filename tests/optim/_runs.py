"""Parameters of awkward shapes, and gradients that do not depend on them.

All tests of this folder share them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (3,), (5, 2), (2, 3, 4), (7,))
STEPS = 20


def parameters(
    dtype: torch.dtype = torch.float32, shapes: tuple[tuple[int, ...], ...] = SHAPES
) -> list[Parameter]:
    source = torch.Generator().manual_seed(1)
    made = [torch.randn(shape, generator=source, dtype=torch.float64).to(dtype) for shape in shapes]
    # One of them is not contiguous: row-major order then differs from the order in memory.
    return [
        Parameter(tensor.t().contiguous().t() if tensor.dim() == 2 else tensor) for tensor in made
    ]


def gradients(step: int, like: list[Parameter]) -> list[Tensor]:
    source = torch.Generator().manual_seed(100 + step)
    return [torch.randn(p.shape, generator=source, dtype=torch.float64).to(p.dtype) for p in like]


def advance(
    optimizer: Optimizer, params: list[Parameter], first: int = 0, last: int = STEPS
) -> None:
    for step in range(first, last):
        for param, grad in zip(params, gradients(step, params), strict=True):
            param.grad = grad
        optimizer.step()


def run(
    build: Callable[[list[Parameter]], Optimizer], dtype: torch.dtype = torch.float32, **shapes: Any
) -> list[Tensor]:
    params = parameters(dtype, **shapes)
    advance(build(params), params)
    return [param.detach() for param in params]


def assert_same(left: list[Tensor], right: list[Tensor]) -> None:
    """Assert that two runs agree to the last bit."""
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b), (a - b).abs().max()
