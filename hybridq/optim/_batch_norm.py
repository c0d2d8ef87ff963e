"""Batch-norm statistics of weights that did not come from training steps.

Such weights are those after a jump of `QuantumTunneling` and those at a collapse of `QIASO`.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hybridq.errors import InvalidArgument

__all__ = ["recalibrate_batch_norm"]


def recalibrate_batch_norm(model: nn.Module, batches: Iterable[Any]) -> None:
    """Measure the running statistics of all batch-norm layers anew (SPEC T9, Q32).

    Each running mean and each running variance becomes the plain average of its values on the
    batches. Nothing else of the model changes: all other layers keep their mode, and every
    batch-norm layer keeps its momentum and its mode. If no layer has running statistics, nothing
    is done and `batches` is not read.

    With several ranks, every rank has to see batches. A `SyncBatchNorm` layer averages its
    statistics over the ranks. Every other layer measures those of its own rank.

    Args:
        model: The model.
        batches: The inputs that the model is called with, one after the other, without gradients.
            A tensor is passed as the only argument, a tuple or list as the positional arguments,
            a dict as the keyword arguments. Labels do not belong here.

    Raises:
        InvalidArgument: If the model has running statistics and `batches` is empty.
        InvalidArgument: If a batch is no tensor, tuple, list or dict.

    Example:
        >>> layer = nn.BatchNorm1d(1)
        >>> batches = [torch.tensor([[1.0], [3.0]]), torch.tensor([[4.0], [8.0]])]
        >>> recalibrate_batch_norm(layer, batches)
        >>> layer.running_mean, layer.running_var
        (tensor([4.]), tensor([5.]))
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    modes = [layer.training for layer in layers]
    n_batches = 0
    try:
        for layer in layers:
            layer.momentum = None  # This is how torch asks for a cumulative average.
            layer.train()
        with torch.no_grad():
            for batch in batches:
                if n_batches == 0:
                    # Not earlier, so that an empty `batches` leaves the statistics as they are.
                    for layer in layers:
                        layer.reset_running_stats()
                _call(model, batch)
                n_batches += 1
    finally:
        for layer, momentum, training in zip(layers, momenta, modes, strict=True):
            layer.momentum = momentum
            layer.train(training)
    if n_batches == 0:
        reason = "give at least one batch to measure the statistics on"
        raise InvalidArgument.of("batches", batches, reason)


def _call(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Tensor):
        model(batch)
    elif isinstance(batch, (tuple, list)):
        model(*batch)
    elif isinstance(batch, dict):
        model(**batch)
    else:
        reason = "a batch is a tensor, a tuple or list of arguments, or a dict of them"
        raise InvalidArgument.of("batches", type(batch), reason)
