"""Where the commands print."""

from rich.console import Console

__all__ = ["console"]


def console(width: int = 160, highlight: bool = True) -> Console:
    """The terminal; a pipe has no width, and 80 columns would break what is meant to be copied.

    Args:
        width: The columns of a pipe.
        highlight: Whether numbers and paths are coloured.
    """
    terminal = Console(highlight=highlight)
    return terminal if terminal.is_terminal else Console(highlight=highlight, width=width)
