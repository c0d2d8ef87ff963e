"""Adam itself, in the same order of operations as torch's Adam, so that both give the same bits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hybridq.optim._perturbations import Place

__all__ = ["Batch", "Corrections", "adam_update", "decayed_gradients", "denominators"]


@dataclass
class Batch:
    """Parameters of one group that are updated together.

    They have the same device and dtype and, unless captured, the same step count. The tensors are
    plain and real: a DTensor is here as the shard on this rank, a complex tensor as its real and
    imaginary parts.

    Args:
        group: Their parameter group.
        step: The number of updates they have had, this one included. None if only `counts` has it,
            for a graph or a compiler.
        lr: The learning rate; a tensor only where it must not be read.
        foreach: Whether to use torch's multi-tensor operations.
        places: The position of each parameter.
        params: The parameters.
        grads: Their gradients.
        exp_avgs: The averages m of their gradients.
        exp_avg_sqs: The averages v of the squares of their gradients.
        counts: The number of updates of each parameter, a tensor of shape ().
        rounded: The parameters in low precision, which `params` holds in float32 (SPEC S18); empty
            for all others.
    """

    group: Mapping[str, Any]
    step: int | None
    lr: float | Tensor
    foreach: bool
    places: list[Place] = field(default_factory=list)
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    exp_avgs: list[Tensor] = field(default_factory=list)
    exp_avg_sqs: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)
    rounded: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Corrections:
    """The divisors that correct the averages for their start at zero (SPEC S3).

    Args:
        first: The divisor of m, a number or a tensor of the shape of the step counts.
        second_sqrt: The divisor of sqrt(v), likewise.
    """

    first: float | Tensor
    second_sqrt: float | Tensor

    @classmethod
    def of(cls, group: Mapping[str, Any], steps: int | Tensor) -> "Corrections":
        """Return 1 - beta1^t and sqrt(1 - beta2^t), or both 1 without bias correction."""
        beta1, beta2 = group["betas"]
        if isinstance(steps, Tensor):
            one = torch.ones_like(steps)
            if not group["bias_correction"]:
                return cls(one, one)
            return cls(_one_minus_power(beta1, steps), _one_minus_power(beta2, steps).sqrt())
        if not group["bias_correction"]:
            return cls(1.0, 1.0)
        return cls(1 - beta1**steps, (1 - beta2**steps) ** 0.5)


def _one_minus_power(beta: float, steps: Tensor) -> Tensor:
    """Return 1 - beta^t, accurate in float32, too.

    Float32 holds the distance of 0.999^t from 1 to no more than 5 digits.
    """
    return -torch.expm1(steps * math.log(beta)) if beta > 0 else torch.ones_like(steps)


def decayed_gradients(batch: Batch) -> None:
    """Negate the gradients for `maximize`, and apply weight decay (SPEC S4).

    The decay goes to the gradients or to the parameters.
    """
    if batch.group["maximize"]:
        if batch.foreach:
            batch.grads = list(torch._foreach_neg(batch.grads))
        else:
            batch.grads = [-grad for grad in batch.grads]
    weight_decay = batch.group["weight_decay"]
    if weight_decay == 0:
        return
    if batch.group["decay"] == "l2":
        if batch.foreach:
            batch.grads = list(torch._foreach_add(batch.grads, batch.params, alpha=weight_decay))
        else:
            pairs = zip(batch.grads, batch.params, strict=True)
            batch.grads = [grad.add(param, alpha=weight_decay) for grad, param in pairs]
        return
    factor = 1 - batch.lr * weight_decay
    if batch.foreach:
        torch._foreach_mul_(batch.params, factor)
    else:
        for param in batch.params:
            param.mul_(factor)


def adam_update(batch: Batch) -> None:
    """Update the counts and the moments, then the parameters."""
    if batch.foreach:
        _foreach_update(batch)
    else:
        _single_update(batch)


def _foreach_update(batch: Batch) -> None:
    group = batch.group
    beta1, beta2 = group["betas"]
    # One tensor is made here, where a number would be wrapped once per parameter.
    torch._foreach_add_(batch.counts, torch.ones((), device=batch.counts[0].device), alpha=1.0)
    torch._foreach_lerp_(batch.exp_avgs, batch.grads, 1 - beta1)
    torch._foreach_mul_(batch.exp_avg_sqs, beta2)
    torch._foreach_addcmul_(batch.exp_avg_sqs, batch.grads, batch.grads, 1 - beta2)
    if batch.step is None:
        corrections = Corrections.of(group, torch.stack(batch.counts).to(batch.params[0].dtype))
    else:
        corrections = Corrections.of(group, batch.step)
    if group["denominator"] == "eps_inside":  # SPEC S2
        divisors = torch._foreach_div(batch.exp_avg_sqs, _each(corrections.second_sqrt**2))
        torch._foreach_add_(divisors, group["eps"])
        torch._foreach_sqrt_(divisors)
    else:
        divisors = torch._foreach_sqrt(batch.exp_avg_sqs)
        if group["bias_correction"]:
            torch._foreach_div_(divisors, _each(corrections.second_sqrt))
        torch._foreach_add_(divisors, group["eps"])
    step_sizes = _each(-(batch.lr / corrections.first))
    if isinstance(step_sizes, list):
        updates = torch._foreach_div(batch.exp_avgs, divisors)
        torch._foreach_mul_(updates, step_sizes)
        torch._foreach_add_(batch.params, updates)
    else:
        torch._foreach_addcdiv_(batch.params, batch.exp_avgs, divisors, step_sizes)


def _each(number: Any) -> Any:
    """Return a number as it is, and a tensor of shape (n,) as a list of n tensors."""
    return list(number.unbind()) if isinstance(number, Tensor) else number


def _single_update(batch: Batch) -> None:
    group = batch.group
    beta1, beta2 = group["betas"]
    lists = (batch.params, batch.grads, batch.exp_avgs, batch.exp_avg_sqs, batch.counts)
    for param, grad, exp_avg, exp_avg_sq, count in zip(*lists, strict=True):
        count += 1  # noqa: PLW2901 - in place
        steps = count.to(param.dtype) if batch.step is None else batch.step
        corrections = Corrections.of(group, steps)
        exp_avg.lerp_(grad, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        divisor = denominators(exp_avg_sq, group, corrections)
        # Autograd keeps the average that was divided, and the next step writes to it.
        average = exp_avg.clone() if group["differentiable"] else exp_avg
        step_size = -(batch.lr / corrections.first)
        if isinstance(step_size, Tensor):
            param.add_(average.div(divisor).mul_(step_size))
        else:
            param.addcdiv_(average, divisor, value=step_size)


def denominators(exp_avg_sq: Tensor, group: Mapping[str, Any], corrections: Corrections) -> Tensor:
    """Return sqrt(v_hat) + eps or sqrt(v_hat + eps) (SPEC S2), a new tensor of the same shape."""
    if group["denominator"] == "eps_inside":
        return (exp_avg_sq / corrections.second_sqrt**2).add_(group["eps"]).sqrt_()
    if not group["bias_correction"]:
        return exp_avg_sq.sqrt().add(group["eps"])
    return (exp_avg_sq.sqrt() / corrections.second_sqrt).add_(group["eps"])
