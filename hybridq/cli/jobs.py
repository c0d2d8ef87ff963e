"""The commands `hybridq jobs`: the jobs that were sent to a QPU, and what became of them."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from hybridq.backends.ibm import Journal, cancel_job, default_journal, resume_job
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
    """Show everything that is known of a job."""
    table = Table("what", "value", show_header=False)
    for name, value in dataclasses.asdict(_open(journal).get(job)).items():
        table.add_row(name, Text("" if value is None else str(value)))
    _console().print(table)


@jobs.command()
def cancel(job: Name, journal: File = None) -> None:
    """Cancel a job that has no result yet. The time that it has used so far stays charged."""
    entry = cancel_job(_open(journal), job)
    typer.echo(f"cancelled {entry.job_id or entry.tag}")


@jobs.command()
def resume(journal: File = None) -> None:
    """Wait for all jobs without a result, and ask for usages that are not known yet."""
    book = _open(journal)
    failures = 0
    for entry in book.entries():
        try:
            sentence = resume_job(book, entry)
            if sentence:
                typer.echo(f"{entry.job_id or entry.tag}: {sentence}")
        except BackendUnavailable as error:
            failures += 1
            typer.echo(f"{entry.job_id or entry.tag}: {error}", err=True)
    if failures:
        raise typer.Exit(1)


def _open(journal: Path | None) -> Journal:
    path = journal or default_journal()
    if not path.exists():
        reason = "there is no such file: nothing was sent under it"
        raise InvalidArgument.of("journal", str(path), reason)
    return Journal(path)
