"""The small problems that the outside suites step optimizers on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

__all__ = ["Regression", "classifier", "rosenbrock"]


def rosenbrock(point: Tensor) -> Tensor:
    """The valley along y = x^2, with its minimum at (1, 1)."""
    x, y = point
    return torch.square(1 - x) + 100 * torch.square(y - x**2)


def classifier(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Two clouds of points and a network that tells them apart: the model and its loss."""
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    points = torch.randn(200, 2, generator=source) + 2.0 * labels[:, None]
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    for param in model.parameters():
        param.data.normal_(std=0.5, generator=source)
    model.to(dtype)

    def loss() -> Tensor:
        logits = model(points.to(dtype)).float().squeeze(1)
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())

    return model, loss


class Regression:
    """|W x + b|^2, the problem that torch steps its optimizers on.

    Args:
        seed: Of the numbers.
        contiguous: Whether the parameters lie side by side in memory.
        dtype: Of all tensors.
        device: Where they are.
    """

    def __init__(
        self,
        seed: int = 0,
        contiguous: bool = True,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        source = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            made = torch.randn(*shape, 2, generator=source, dtype=torch.float64).to(device, dtype)[
                ..., 0
            ]
            return made.contiguous() if contiguous else made

        self.weight, self.bias, self.x = Parameter(normal(10, 5)), Parameter(normal(10)), normal(5)
        self.params = [self.weight, self.bias]

    def named(self, names: bool) -> list[Any]:
        """The parameters, with names or without."""
        return (
            list(zip(("weight", "bias"), self.params, strict=True)) if names else list(self.params)
        )

    def loss(self) -> Tensor:
        """The loss as it is."""
        return (self.weight.mv(self.x) + self.bias).pow(2).sum()

    def values(self) -> list[Tensor]:
        """Copies of the parameters."""
        return [param.detach().clone() for param in self.params]

    def advance(self, optimizer: Optimizer, steps: int = 1) -> None:
        """Do some steps with a closure."""

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss()
            if loss.requires_grad:  # A search evaluates without gradients.
                torch.autograd.backward(loss)
            return loss

        for _ in range(steps):
            optimizer.step(closure)  # type: ignore[arg-type]
