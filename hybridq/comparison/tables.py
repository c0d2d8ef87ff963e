"""The tables of a comparison."""

from collections.abc import Sequence
from typing import Any

from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.metrics import AbstractMetric, Part
from hybridq.comparison.notation import DASH, decimals
from hybridq.study.sections import Column, Entry, Table

__all__ = ["cost_table", "metric_table"]


def metric_table(
    part: Part, metrics: Sequence[AbstractMetric[Any]], results: Sequence[BackendResult]
) -> Table:
    """Make the table of a part of the page: a row for each backend, columns from the metrics.

    The reference has a row if a metric says something of one backend alone.

    Args:
        part: The part.
        metrics: Its metrics.
        results: The results; the first is the reference.
    """
    columns = [column for metric in metrics for column in metric.columns()]
    rows = []
    if any(metric.is_of_one_backend for metric in metrics):
        reference = results[0]
        cells = [cell for metric in metrics for cell in _reference_cells(metric, reference)]
        rows.append((row_name(reference), *cells))
    for one in results[1:]:
        cells = [cell for metric in metrics for cell in metric.cells(one[metric.name])]
        rows.append((row_name(one), *cells))
    headings = tuple(Column(title) for title in ("backend", *columns))
    return Table(part.table, headings, tuple(rows), part.table_caption)


def _reference_cells(metric: AbstractMetric[Any], reference: BackendResult) -> list[Entry]:
    """Make the cells of the reference: the estimate where it is of one backend, and dashes."""
    cells = [Entry(DASH)] * len(metric.columns())
    if metric.is_of_one_backend:
        cells[0] = metric.cells(reference[metric.name])[0]
    return cells


def cost_table(results: Sequence[BackendResult], price: float | None) -> Table:
    """Make the table of circuits, jobs, seconds, QPU seconds and money.

    Args:
        results: The results.
        price: The price of a minute of QPU time; None has no column of money.
    """
    titles = [
        "backend",
        "circuits",
        "shots",
        "jobs",
        "transpilations",
        "seconds",
        "QPU seconds, estimated",
        "QPU seconds, charged",
    ]
    caption = (
        "Of a simulated device the estimate says what the real one would take; nothing is charged "
        "for it. Records that were stored earlier show what they took then."
    )
    if price is not None:
        titles.append("cost")
        caption += (
            f" The cost is at {price:g} per minute of QPU time: as charged, and in brackets what "
            "it would be."
        )
    rows = tuple(_cost(one, price) for one in results)
    return Table("What it took", tuple(map(Column, titles)), rows, caption)


def _cost(one: BackendResult, price: float | None) -> tuple[Entry, ...]:
    cost = one.measurement.cost
    shots = one.measurement.shots
    cells = [
        row_name(one),
        Entry(f"{cost.circuits:,}"),
        Entry("exact" if shots is None else f"{shots:,}"),
        Entry(decimals(cost.jobs, 0)),
        Entry(decimals(cost.transpilations, 0)),
        Entry(decimals(cost.seconds, 2)),
        Entry(decimals(cost.estimated_qpu_seconds, 2)),
        Entry(decimals(cost.qpu_seconds, 2)),
    ]
    if price is not None:
        estimate = cost.estimated_qpu_seconds
        would = "" if estimate is None else f"({price * estimate / 60:.2f})"
        cells.append(Entry(f"{price * (cost.qpu_seconds or 0.0) / 60:.2f}", would))
    return tuple(cells)


def row_name(one: BackendResult) -> Entry:
    """Make the cell that names a row: the backend, and the file that it was read from."""
    return Entry(one.label, f"stored in {one.stored}" if one.stored else "")
