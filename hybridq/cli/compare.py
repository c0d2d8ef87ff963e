"""The command `hybridq compare`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybridq.backends import BackendSpec
from hybridq.cli.console import console
from hybridq.comparison.compare import CompareOptions
from hybridq.comparison.compare import compare as compare_backends
from hybridq.comparison.listing import split_list, state_shots
from hybridq.comparison.result import Comparison
from hybridq.comparison.verdicts import percent
from hybridq.errors import require

__all__ = ["compare"]

_STYLES = {
    "equal": "green",
    "within shot noise": "green",
    "beyond shot noise": "red",
    "different": "red",
    "reference": "dim",
}


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
        str, typer.Option(help="What loads the run: package.module:function.")
    ] = CompareOptions.loader,
) -> None:
    """Run the circuits of a trained model on several backends, once each: deviations, accuracy and cost, as a page."""
    for module in ("jinja2", "matplotlib"):
        require(module, "experiments")  # before anything is paid for
    terminal, given = console(), split_list(backends)
    for name, completed in zip(given, state_shots(given, shots), strict=True):
        if name != completed:
            given_shots = BackendSpec.parse(completed).option("shots")
            sentence = f"{name} needs shots and names none; it gets {given_shots}, as stated for others."
            terminal.print(Text(sentence))
    options = CompareOptions(
        shots, seed, stored=tuple(stored or ()), loader=loader, price_per_minute=price_per_minute
    )
    comparison = compare_backends(checkpoint, backends, options=options)
    page = comparison.write(output or checkpoint / "compare")
    _print(comparison, terminal)
    typer.echo(f"The page: {page}")


def _print(comparison: Comparison, terminal: Console) -> None:
    for one in comparison.results:
        verdict = one.verdict
        terminal.print(
            Text.assemble((one.label, "bold"), "  ", (verdict.kind, _STYLES[verdict.kind])),
            soft_wrap=True,
        )
        for sentence in verdict.sentences:
            terminal.print(Text(f"  {sentence}"), soft_wrap=True)
    table = Table(
        "backend",
        "total variation",
        "error of \u03a6",
        "of logits",
        "accuracy",
        "circuits",
        "jobs",
        "seconds",
        "QPU s",
    )
    for one in comparison.results:
        cost, paired = one.measurement.cost, one.paired
        numbers = [
            _number(None if one.total_variation is None else one.total_variation.value, 4),
            _number(max((distance.value for distance in one.phi), default=None), 4),
            _number(None if paired is None or not one.phi else paired.rms, 4),
            "" if paired is None else percent(paired.accuracy, 2),
            *(_number(value, 0) for value in (cost.circuits, cost.jobs)),
            _number(cost.seconds, 2),
            _number(cost.qpu_seconds, 2),
        ]
        table.add_row(*map(Text, (one.label, *numbers)))
    terminal.print(table)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
