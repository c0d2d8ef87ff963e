"""The terminal that the commands print to."""

from rich.console import Console

__all__ = ["console"]


def console(width: int = 160, highlight: bool = True) -> Console:
    """Return the terminal.

    A pipe has no width, and 80 columns would break lines that are meant to be copied.

    Args:
        width: The number of columns of a pipe.
        highlight: Whether numbers and paths are coloured.
    """
    terminal = Console(highlight=highlight)
    return terminal if terminal.is_terminal else Console(highlight=highlight, width=width)
