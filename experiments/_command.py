"""How an experiment is run from the command line."""

import sys
from collections.abc import Callable

import typer
from rich.console import Console

from hybridq.errors import HybridqError

__all__ = ["run"]


def run(main: Callable[..., None]) -> None:
    """Run a function with its typed arguments as options; errors of ours are printed without a traceback."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except HybridqError as error:
        Console(stderr=True).print("[bold red]error:[/]", str(error), highlight=False, soft_wrap=True)
        sys.exit(2)
