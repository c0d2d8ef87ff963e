"""How an experiment is run from the command line."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from hybridq.errors import HybridqError, InvalidArgument

__all__ = ["results_folder", "run"]


def run(main: Callable[..., None]) -> None:
    """Run a function as a command, with its typed arguments as options.

    An error that hybridq raised on purpose is printed without a traceback, and the exit code is 2.

    Args:
        main: The function. Its docstring is the help text, in Markdown.
    """
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    app.command()(main)
    try:
        app()
    except HybridqError as error:
        # A Text, so that brackets in a message are not taken as markup.
        message = Text.assemble(("error: ", "bold red"), str(error))
        Console(stderr=True).print(message, soft_wrap=True)
        sys.exit(2)


def results_folder(output: Path | None, name: str) -> Path:
    """Choose the folder of an experiment's results, without making it.

    Args:
        output: The folder that was asked for; None takes one below runs/ that is named for the
            experiment and the time.
        name: What the default folder's name begins with.

    Returns:
        The folder, which does not exist yet.

    Raises:
        InvalidArgument: If the folder exists.
    """
    folder = output or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        reason = "it exists; name a new folder, or delete it"
        raise InvalidArgument.of("output", str(folder), reason)
    return folder
