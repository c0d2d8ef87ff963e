"""Run a function on several ranks of a process group, each in a process of its own."""

import datetime
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

__all__ = ["run_on_ranks"]

_PATIENCE = datetime.timedelta(seconds=60)


def run_on_ranks(function: Callable[..., Any], n_ranks: int = 2, **kwargs: Any) -> list[Any]:
    """Call `function(rank, **kwargs)` on every rank of a gloo process group.

    Args:
        function: A function of a module, so that another process can import it; `torch.distributed`
            is initialised when it is called, with one torch thread.
        n_ranks: How many processes.
        kwargs: What `function` gets besides its rank; anything that can be pickled.

    Returns:
        What each rank returned, in their order: tensors, numbers, and containers of them.

    Raises:
        torch.multiprocessing.ProcessRaisedException: If a rank raised; the message is its
        traceback.
    """
    with TemporaryDirectory() as folder:
        spawn(_rank, (n_ranks, folder, function, kwargs), nprocs=n_ranks)  # type: ignore[no-untyped-call]
        return [
            torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(n_ranks)
        ]


def _rank(
    rank: int, n_ranks: int, folder: str, function: Callable[..., Any], kwargs: dict[str, Any]
) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"  # A port might be held by another run.
    dist.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=n_ranks, timeout=_PATIENCE
    )
    try:
        torch.save(function(rank, **kwargs), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
