"""Randomness comes from one explicit seed."""

import hashlib
from urllib.parse import quote

import torch

from hybridq.errors import InvalidArgument

__all__ = ["derive", "generator"]


def derive(seed: int, *path: str | int) -> int:
    """Derive an independent seed from a seed and a path of names.

    Streams that are named differently never share numbers, and adding a stream leaves the others
    as they were.

    Args:
        seed: A non-negative integer.
        path: The name of the stream, for example `"data"` or `"dropout", 3`; 3 and "3" are the
            same name.

    Returns:
        An integer in [0, 2**31).

    Raises:
        InvalidArgument: If `seed` is not a non-negative integer.

    Example:
        >>> derive(0, "data") == derive(0, "data"), derive(0, "data") == derive(0, "model")
        (True, False)
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InvalidArgument.of("seed", seed, "give a non-negative integer")
    # Each part is quoted, so that ("a/b",) and ("a", "b") are different paths.
    text = "/".join(quote(str(part), safe="") for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """Make a CPU generator of the stream that `derive` names.

    Args:
        seed: A non-negative integer.
        path: The name of the stream.

    Returns:
        A seeded `torch.Generator`.
    """
    return torch.Generator().manual_seed(derive(seed, *path))
