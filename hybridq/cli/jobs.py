"""The commands `hybridq jobs`: the jobs that were sent to a QPU, and what became of them."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from hybridq.backends._ibm.journal import Entry, Journal, default_journal
from hybridq.backends._ibm.primitives import Mitigation
from hybridq.backends._ibm.runs import collect
from hybridq.backends._ibm.runtime import Runtime, patiently, usage
from hybridq.cli.console import console
from hybridq.errors import BackendUnavailable, InvalidArgument

__all__ = ["jobs"]

_console = partial(console, width=240, highlight=False)  # nothing is cut in a pipe
jobs = typer.Typer(
    no_args_is_help=True, help="Jobs that were sent to a QPU: list, show, cancel, resume."
)

File = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        help="The journal; by default HYBRIDQ_JOURNAL, or the one of all of a user's runs.",
    ),
]
Name = Annotated[str, typer.Argument(help="The id or the tag of a job.")]


@jobs.command("list")
def list_jobs(journal: File = None) -> None:
    """List all jobs, oldest first."""
    table = Table("job", "state", "created", "device", "circuits", "shots", "estimated s", "used s")
    table.columns[0].no_wrap = True  # to be copied
    entries = _open(journal).entries()
    for entry in entries:
        used = "" if entry.used_seconds is None else f"{entry.used_seconds:.2f}"
        numbers = (str(entry.circuits), str(entry.shots), f"{entry.estimated_seconds:.2f}", used)
        name = entry.job_id or entry.tag
        cells = (name, entry.state, entry.created, entry.device, *numbers)
        table.add_row(*map(Text, cells))
    _console().print(table)
    seconds = sum(entry.used_seconds or 0.0 for entry in entries)
    _console().print(
        f"{len(entries)} {'job' if len(entries) == 1 else 'jobs'}, {seconds:.2f} QPU seconds"
    )


@jobs.command()
def show(job: Name, journal: File = None) -> None:
    """Show all that is known of a job."""
    table = Table("what", "value", show_header=False)
    for name, value in dataclasses.asdict(_open(journal).get(job)).items():
        table.add_row(name, Text("" if value is None else str(value)))
    _console().print(table)


@jobs.command()
def cancel(job: Name, journal: File = None) -> None:
    """Cancel a job that has no result yet. What it has used so far stays charged."""
    book = _open(journal)
    with book.lock():  # nothing is being sent meanwhile
        entry = book.get(job)
        if entry.state not in ("intended", "sent"):
            reason = f"it is {entry.state}; only a job without a result can be cancelled"
            raise InvalidArgument.of("job", job, reason)
        sent = _job(entry)
        if sent is not None:
            patiently(sent.cancel, f"cancelling job {sent.job_id()}")
        book.failed(entry.tag, "cancelled by `hybridq jobs cancel`", "cancelled")
    typer.echo(f"cancelled {entry.job_id or entry.tag}")


@jobs.command()
def resume(journal: File = None) -> None:
    """Wait for all jobs without a result, and ask for usages that are not known."""
    book = _open(journal)
    failures = 0
    for entry in book.entries():
        try:
            if line := _resume(book, entry):
                typer.echo(f"{entry.job_id or entry.tag}: {line}")
        except BackendUnavailable as error:
            failures += 1
            typer.echo(f"{entry.job_id or entry.tag}: {error}", err=True)
    if failures:
        raise typer.Exit(1)


def _resume(book: Journal, entry: Entry) -> str:
    """Finish a job, and say what was done; return an empty text if there was nothing to do."""
    waiting = entry.state in ("intended", "sent")
    if not waiting and (entry.state != "done" or entry.used_seconds is not None):
        return ""
    sent = _job(entry)
    if sent is None:
        gone = "was never sent, or ran in a process that is gone; evaluating again sends it"
        return gone if waiting else ""
    if not waiting:
        if (seconds := usage(sent)) is not None:
            book.used(entry.tag, seconds)
        return "" if seconds is None else f"used {seconds:.2f} QPU seconds"
    if entry.job_id is None:
        book.sent(entry.tag, sent.job_id())
    options: dict[str, Any] = json.loads(entry.options)
    names = ("readout_mitigation", "twirling", "dynamical_decoupling", "zne")
    collect(book, entry.tag, sent, Mitigation(*(options[name] for name in names)).read)
    return "done"


def _job(entry: Entry) -> Any:
    """Return the job of a row, or None."""
    runtime = Runtime(entry.device, entry.instance, entry.channel, "job")
    if entry.job_id is not None:
        return runtime.fetch(entry.job_id)
    return patiently(lambda: runtime.adopt(entry.tag), f"looking for the job tagged {entry.tag}")


def _open(journal: Path | None) -> Journal:
    path = journal or default_journal()
    if not path.exists():
        reason = "there is no such file: nothing was sent under it"
        raise InvalidArgument.of("journal", str(path), reason)
    return Journal(path)
