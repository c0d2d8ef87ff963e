"""Batch-norm statistics of weights that did not come from training steps: after a jump, or of averaged candidates."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hybridq.errors import InvalidArgument

__all__ = ["recalibrate_batch_norm"]


def recalibrate_batch_norm(model: nn.Module, batches: Iterable[Any]) -> None:
    """Measure the running statistics of all batch-norm layers anew (SPEC T9, Q32).

    Each running mean and variance becomes the plain average of its values on the batches. Nothing
    else of the model changes: the other layers stay in the mode they are in, and momentum and mode
    of every batch-norm layer are as before. A model without running statistics is left alone, and
    `batches` is not read.

    On several ranks every rank has to see batches: those of `SyncBatchNorm` are averaged over
    ranks, those of other layers are a rank's own.

    Args:
        model: The model.
        batches: What the model is called with, one after the other, without gradients: a tensor as
            its only argument, a tuple or list as its arguments, a dict as its keyword arguments.
            Labels do not belong in them.

    Raises:
        InvalidArgument: If the model has batch-norm layers, and `batches` is empty.

    Example:
        >>> layer = nn.BatchNorm1d(1)
        >>> recalibrate_batch_norm(layer, [torch.tensor([[1.0], [3.0]]), torch.tensor([[4.0], [8.0]])])
        >>> layer.running_mean, layer.running_var
        (tensor([4.]), tensor([5.]))
    """
    layers = [
        m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None
    ]
    if not layers:
        return
    before = [(layer.momentum, layer.training) for layer in layers]
    n_batches = 0
    try:
        for layer in layers:
            layer.momentum = None  # torch's name for the cumulative average
            layer.train()
        with torch.no_grad():
            for batch in batches:
                if n_batches == 0:  # only now: an empty `batches` changes nothing
                    for layer in layers:
                        layer.reset_running_stats()
                _call(model, batch)
                n_batches += 1
    finally:
        for layer, (momentum, training) in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.train(training)
    if n_batches == 0:
        raise InvalidArgument.of(
            "batches", batches, "give at least one batch to measure the statistics on"
        )


def _call(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Tensor):
        model(batch)
    elif isinstance(batch, (tuple, list)):
        model(*batch)
    elif isinstance(batch, dict):
        model(**batch)
    else:
        raise InvalidArgument.of(
            "batches",
            type(batch),
            "a batch is a tensor, a tuple or list of arguments, or a dict of them",
        )
