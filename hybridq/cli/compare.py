"""The command `hybridq compare`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybridq.cli.console import console
from hybridq.comparison import BackendResult, CompareOptions, Comparison
from hybridq.comparison import compare as compare_backends
from hybridq.comparison.listing import split_list, state_shots
from hybridq.comparison.notation import decimals
from hybridq.errors import require

__all__ = ["compare", "print_comparison"]

_STYLES = {"good": "green", "bad": "red", "open": "dim"}


def compare(
    checkpoint: Annotated[Path, typer.Option(help="The folder of a run, with a trained model.")],
    backends: Annotated[
        str,
        typer.Option(
            help="statevector,aer:shots=4096,ibm:fake_torino; the first is the reference."
        ),
    ],
    shots: Annotated[
        int | None, typer.Option(help="For backends that need shots and name none.")
    ] = None,
    stored: Annotated[
        list[Path] | None, typer.Option(help="A compare.json of earlier; its backends are added.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder to write into; by default RUN/compare.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of what is drawn here; shots have each backend's own seed.")
    ] = 0,
    price_per_minute: Annotated[
        float | None, typer.Option(help="What a minute of QPU time costs in your plan.")
    ] = None,
    loader: Annotated[
        str | None,
        typer.Option(
            help="The function that loads the run, package.module:function; by default the one "
            "that the run's record names."
        ),
    ] = None,
) -> None:
    """Run the circuits of a trained model on several backends, once each.

    The page says how they deviate, what this does to the accuracy, and what it costs.
    """
    for module in ("jinja2", "matplotlib"):
        require(module, "experiments")  # before anything is paid for
    terminal = console()
    _say_shots(split_list(backends), shots, terminal)
    options = CompareOptions(
        shots,
        seed,
        stored=tuple(stored or ()),
        loader=loader,
        price_per_minute=price_per_minute,
    )
    comparison = compare_backends(checkpoint, backends, options=options)
    page = comparison.write(output or checkpoint / "compare")
    print_comparison(comparison, terminal)
    typer.echo(f"The page: {page}")


def _say_shots(names: list[str], shots: int | None, terminal: Console) -> None:
    """Say which backends get shots that they do not name."""
    for name, completed in zip(names, state_shots(names, shots), strict=True):
        if name != completed:
            number = completed.rpartition("=")[2]
            line = f"{name} needs shots and names none; it gets {number}, as stated for others."
            terminal.print(Text(line))


def print_comparison(comparison: Comparison, terminal: Console) -> None:
    """Print the verdicts, and a table of the metrics and the cost.

    Args:
        comparison: The comparison.
        terminal: The terminal.
    """
    for one in comparison.results:
        kind = (one.verdict.kind, _STYLES[one.verdict.badge])
        terminal.print(Text.assemble((one.label, "bold"), "  ", kind), soft_wrap=True)
        for sentence in one.verdict.sentences:
            terminal.print(Text(f"  {sentence}"), soft_wrap=True)
    metrics = [metric for metric in comparison.shown_metrics if metric.console_heading()]
    headings = [metric.console_heading() for metric in metrics]
    table = Table("backend", *headings, "circuits", "jobs", "seconds", "QPU s")
    for one in comparison.results:
        cells = []
        for metric in metrics:
            is_shown = metric.is_of_one_backend or one is not comparison.reference
            cells.append(metric.console_text(one[metric.name]) if is_shown else "")
        table.add_row(*map(Text, (one.label, *cells, *_cost(one))))
    terminal.print(table)


def _cost(one: BackendResult) -> list[str]:
    cost = one.measurement.cost
    numbers = [(cost.circuits, 0), (cost.jobs, 0), (cost.seconds, 2), (cost.qpu_seconds, 2)]
    return ["" if number is None else decimals(number, digits) for number, digits in numbers]
