"""Adam itself, in the same order of operations as torch's, so that both give the same bits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hybridq.optim._perturbations import Place

__all__ = ["Batch", "Corrections", "adam_update", "decayed_gradients", "denominators"]


@dataclass
class Batch:
    """Parameters of one group that are updated together: one device, one dtype, one step count.

    Args:
        step: How many updates they have had, this one included.
        foreach: Whether to use torch's multi-tensor operations.
    """

    step: int
    foreach: bool
    places: list[Place] = field(default_factory=list)
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    exp_avgs: list[Tensor] = field(default_factory=list)
    exp_avg_sqs: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Corrections:
    """What divides m, and what divides sqrt(v)."""

    first: float
    second_sqrt: float

    @classmethod
    def of(cls, group: Mapping[str, Any], step: int) -> "Corrections":
        """1 - beta1^t and sqrt(1 - beta2^t); both 1 without bias correction (SPEC S3)."""
        if not group["bias_correction"]:
            return cls(1.0, 1.0)
        beta1, beta2 = group["betas"]
        return cls(1 - beta1**step, (1 - beta2**step) ** 0.5)


def decayed_gradients(batch: Batch, group: Mapping[str, Any]) -> None:
    """Turn the gradients for `maximize`, and apply weight decay: to them or to the parameters (SPEC S4)."""
    if group["maximize"]:
        batch.grads = list(torch._foreach_neg(batch.grads)) if batch.foreach else [-grad for grad in batch.grads]
    weight_decay = group["weight_decay"]
    if weight_decay == 0:
        return
    if group["decay"] == "l2":
        if batch.foreach:
            batch.grads = list(torch._foreach_add(batch.grads, batch.params, alpha=weight_decay))
        else:
            pairs = zip(batch.grads, batch.params, strict=True)
            batch.grads = [grad.add(param, alpha=weight_decay) for grad, param in pairs]
        return
    factor = 1 - float(group["lr"]) * weight_decay
    if batch.foreach:
        torch._foreach_mul_(batch.params, factor)
    else:
        for param in batch.params:
            param.mul_(factor)


def adam_update(batch: Batch, group: Mapping[str, Any]) -> None:
    """Update the moments, then the parameters."""
    corrections = Corrections.of(group, batch.step)
    step_size = -(float(group["lr"]) / corrections.first)
    if batch.foreach:
        _foreach_update(batch, group, corrections, step_size)
    else:
        _single_update(batch, group, corrections, step_size)


def _foreach_update(batch: Batch, group: Mapping[str, Any], corrections: Corrections, step_size: float) -> None:
    beta1, beta2 = group["betas"]
    # One tensor made here, not a number wrapped once per parameter.
    torch._foreach_add_(batch.counts, torch.tensor(1.0), alpha=1.0)
    torch._foreach_lerp_(batch.exp_avgs, batch.grads, 1 - beta1)
    torch._foreach_mul_(batch.exp_avg_sqs, beta2)
    torch._foreach_addcmul_(batch.exp_avg_sqs, batch.grads, batch.grads, 1 - beta2)
    if group["denominator"] == "eps_inside":  # SPEC S2
        divisors = torch._foreach_div(batch.exp_avg_sqs, corrections.second_sqrt**2)
        torch._foreach_add_(divisors, group["eps"])
        torch._foreach_sqrt_(divisors)
    else:
        divisors = torch._foreach_sqrt(batch.exp_avg_sqs)
        if group["bias_correction"]:
            torch._foreach_div_(divisors, corrections.second_sqrt)
        torch._foreach_add_(divisors, group["eps"])
    torch._foreach_addcdiv_(batch.params, batch.exp_avgs, divisors, step_size)


def _single_update(batch: Batch, group: Mapping[str, Any], corrections: Corrections, step_size: float) -> None:
    beta1, beta2 = group["betas"]
    lists = (batch.params, batch.grads, batch.exp_avgs, batch.exp_avg_sqs, batch.counts)
    for param, grad, exp_avg, exp_avg_sq, count in zip(*lists, strict=True):
        count += 1  # noqa: PLW2901 - in place
        exp_avg.lerp_(grad, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        param.addcdiv_(exp_avg, denominators(exp_avg_sq, group, corrections), value=step_size)


def denominators(exp_avg_sq: Tensor, group: Mapping[str, Any], corrections: Corrections) -> Tensor:
    """sqrt(v_hat) + eps or sqrt(v_hat + eps) (SPEC S2), a new tensor of the same shape."""
    if group["denominator"] == "eps_inside":
        return (exp_avg_sq / corrections.second_sqrt**2).add_(group["eps"]).sqrt_()
    if not group["bias_correction"]:
        return exp_avg_sq.sqrt().add_(group["eps"])
    return (exp_avg_sq.sqrt() / corrections.second_sqrt).add_(group["eps"])
