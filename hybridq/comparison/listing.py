"""The list of backends: one string or many, each with shots where it needs them."""

import dataclasses
from collections.abc import Sequence

from hybridq import catalogue
from hybridq.backends import AbstractBackend, BackendSpec, resolve
from hybridq.errors import InvalidArgument

__all__ = ["resolve_all", "split_list", "state_shots"]


def split_list(text: str) -> list[str]:
    """Split a list of backends at its commas, by `BackendSpec.parse_list`.

    Args:
        text: For example "statevector,aer:shots=4096,seed=1,ibm:fake_torino".

    Raises:
        InvalidArgument: If the list begins with an option, or a name is missing between commas.

    Example:
        >>> split_list("statevector,aer:shots=4096,seed=1,ibm:fake_torino+mitigated")
        ['statevector', 'aer:shots=4096,seed=1', 'ibm:fake_torino+mitigated']
    """
    return [str(spec) for spec in BackendSpec.parse_list(text)]


def state_shots(names: Sequence[str], shots: int | None) -> list[str]:
    """Give shots to the backends that need them and name none: those that another backend names.

    They get the number that another backend of the list names. Equal shots make backends
    comparable; there is no default, since shots decide the cost.

    Args:
        names: Names with options.
        shots: The shots of all; None takes the number that the list names.

    Returns:
        The names, with shots where they are needed.

    Raises:
        InvalidArgument: If no number is named, several different ones are, or one contradicts
            `shots`.
    """
    specs = [BackendSpec.parse(name) for name in names]
    written = [spec.option("shots") or "" for spec in specs]
    named = {text for text in written if text.isdigit()}
    if shots is not None and named - {str(shots)}:
        way_out = f"the list of backends names {', '.join(sorted(named))}; give them once"
        raise InvalidArgument.of("shots", shots, way_out)
    stated = named if shots is None else {str(shots)}
    completed = []
    for name, spec in zip(names, specs, strict=True):
        if not _needs_shots(spec) or spec.option("shots") is not None:
            completed.append(name)
            continue
        if len(stated) != 1:
            several = f"others name {', '.join(sorted(stated))}"
            reason = several if stated else "no backend names any"
            way_out = f"it needs shots, and {reason}; give shots=4096 or so, or --shots"
            raise InvalidArgument.of("backends", name, way_out)
        completed.append(str(spec.with_shots(int(next(iter(stated))))))
    return completed


def _needs_shots(spec: BackendSpec) -> bool:
    if spec.name not in catalogue.names("backends"):
        return False
    return bool(catalogue.load("backends", spec.name).needs_shots)


def resolve_all(
    backends: str | Sequence[str | AbstractBackend], shots: int | None
) -> dict[str, AbstractBackend]:
    """Make all backends before any of them runs.

    Args:
        backends: One string with commas, or names and objects.
        shots: As `state_shots`.

    Returns:
        The backends by label. A label is the name that was written, with its shots.

    Raises:
        InvalidArgument: As `split_list` and `state_shots`, or if an object is no backend.
        UnknownName: If there is no such backend.
        MissingExtra: If its SDK is not installed.
    """
    given = split_list(backends) if isinstance(backends, str) else list(backends)
    texts = iter(state_shots([one for one in given if isinstance(one, str)], shots))
    resolved: dict[str, AbstractBackend] = {}
    for one in given:
        named = next(texts) if isinstance(one, str) else one
        backend = resolve(named)
        label = base = named if isinstance(named, str) else _label(backend)
        number = 2
        while label in resolved:
            label, number = f"{base} #{number}", number + 1
        resolved[label] = backend
    return resolved


def _label(backend: AbstractBackend) -> str:
    """Return the name of a backend with the options that are not the defaults, without paths."""
    options = [
        f"{option.name}={getattr(backend, option.name)}"
        for option in dataclasses.fields(backend)
        if option.init
        and option.name != "journal"
        and getattr(backend, option.name) != option.default
    ]
    return f"{backend.name}{':' if options else ''}{','.join(options)}"
