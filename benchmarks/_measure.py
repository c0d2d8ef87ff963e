"""Interleaved medians of CPU time, peak memory, and the table and file that show them."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from hybridq.study.environment import environment

__all__ = ["Output", "Row", "interleaved", "one_thread", "peak_memory", "show"]

_TURN = 0.1  # seconds

Row = tuple[str, ...]  # work, ours, reference, ratio, bar
Output = Annotated[
    Path | None, typer.Option(help="a file for the numbers, as JSON; by default none is written")
]


def one_thread() -> None:
    """Measure on one core, as all bars are stated."""
    torch.set_num_threads(1)


def interleaved(
    works: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 2
) -> dict[str, float]:
    """Time several pieces of work in turn, so that other work on the machine meets all of them.

    A turn takes about `_TURN` seconds: short work is repeated within its turn, as in a training
    loop, where its code stays in the cache. The median is over all calls of all turns.

    Args:
        works: The pieces of work, by name.
        repeats: Number of turns of each.
        warm_up: Number of calls of each before, which are not timed.

    Returns:
        The median CPU time of each, seconds.
    """
    calls = {name: _calls(work, warm_up) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in track(
        range(repeats), description=", ".join(works), transient=True, auto_refresh=False
    ):
        for name, work in works.items():
            times[name] += [_time(work) for _ in range(calls[name])]
    return {name: statistics.median(values) for name, values in times.items()}


def _calls(work: Callable[[], Any], warm_up: int) -> int:
    """Warm up, and find how often to repeat in a turn."""
    seconds = min(_time(work) for _ in range(warm_up))
    return max(1, round(_TURN / seconds))


def _time(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_memory(work: Callable[[], Any]) -> float:
    """Return the most memory that torch held at once for a piece of work.

    Args:
        work: The piece of work; it is done once.

    Returns:
        Bytes above those that torch held before.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    result = profiler.profiler.kineto_results
    events = sorted((e.start_ns(), e.nbytes()) for e in result.events() if e.name() == "[memory]")
    held = peak = 0
    for _, change in events:
        held += change
        peak = max(peak, held)
    return float(peak)


def show(
    name: str,
    title: str,
    rows: Sequence[Row],
    numbers: Mapping[str, Any],
    output: Path | None = None,
) -> None:
    """Print the table, and write the numbers if a file for them is named.

    Args:
        name: The name of the benchmark.
        title: The title of the table.
        rows: The rows of the table.
        numbers: JSON values; the file has the command, the commit and the versions beside them.
        output: The file; None writes none.
    """
    table = Table(title=title)
    for column in ("work (one thread)", "hybridq", "reference", "ratio", "bar"):
        table.add_column(column, justify="left" if column.startswith("work") else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)
    if output is None:
        print(f"not written; --output benchmarks/results/{name}.json would write the numbers there")
        return
    content = {"title": title, "environment": environment(), **numbers}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written: {output}")
