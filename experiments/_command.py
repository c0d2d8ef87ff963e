"""How an experiment is run from the command line."""

import sys
from collections.abc import Callable

import typer
from rich.console import Console
from rich.text import Text

from hybridq.errors import HybridqError

__all__ = ["run"]


def run(main: Callable[..., None]) -> None:
    """Run a function with its typed arguments as options; errors of ours are printed without a traceback."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except HybridqError as error:
        # A Text, so that brackets in a message are not taken as markup.
        Console(stderr=True).print(
            Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True
        )
        sys.exit(2)
