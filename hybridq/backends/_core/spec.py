"""The one notation of a backend with its options: "name:positional+preset,option=value"."""

import re
from dataclasses import dataclass, replace

import pennylane as qml

from hybridq import catalogue
from hybridq.backends._core.contract import check_shots
from hybridq.errors import InvalidArgument

__all__ = ["PLUGINS", "BackendSpec", "malformed"]

PLUGINS = {
    "lightning.gpu": "pennylane-lightning-gpu",
    "lightning.kokkos": "pennylane-lightning-kokkos",
    "lightning.qubit": "pennylane-lightning",
}
"""PennyLane devices that come in distributions of their own."""

_FIRST_WORD = re.compile(r"[\w.]*")
# In a list of backends, "seed=1" is an option of the backend before it; "aer:seed=1" is a backend.
_OPTION = re.compile(r"\s*\w+\s*=")
# In the value of an option: options that are separated by colons, as in "shots=4:seed=5".
_OPTION_AFTER_COLON = re.compile(r":\s*\w+\s*=")


@dataclass(frozen=True)
class BackendSpec:
    """A backend's name and its options, as text: what `resolve` makes a backend from.

    `str` writes the notation that `parse` reads, without blanks, and the options in their order.

    Args:
        name: A file of this folder, a device of PennyLane, or "package.module:Class".
        positional: The option that follows the name without being named, as "fake_torino" in
            "ibm:fake_torino"; None if there is none.
        preset: The options under one name that follow it, as "mitigated" in
            "ibm:fake_torino+mitigated"; None if there are none.
        options: Name and value of each option.

    Raises:
        InvalidArgument: If a value has a comma in it.

    Example:
        >>> spec = BackendSpec.parse("ibm:fake_torino+mitigated, seed=1")
        >>> spec.positional, spec.preset, spec.options
        ('fake_torino', 'mitigated', (('seed', '1'),))
        >>> str(spec.with_shots(4096))
        'ibm:fake_torino+mitigated,seed=1,shots=4096'
    """

    name: str
    positional: str | None = None
    preset: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for option, value in self.options:
            if "," in value or value != value.strip():
                way_out = "a value has no commas and no blanks around it; a tuple is written 4-5-6"
                raise InvalidArgument.of(option, value, way_out)

    @classmethod
    def parse(cls, text: str) -> "BackendSpec":
        """Read the notation. Whether there is such a backend, and such an option, is not looked up.

        Args:
            text: For example "aer", "aer:shots=100,seed=1" or "ibm:fake_torino+mitigated". A value
                has no commas; a tuple is written "initial_layout=4-5-6".

        Returns:
            The spec.

        Raises:
            InvalidArgument: If it is no text, the name is missing, an option is not written
                option=value, or one is given twice.
        """
        if not isinstance(text, str):
            raise InvalidArgument.of("backend", text, "give a name or a backend object")
        name, colon, rest = _split_name(text.strip())
        if not name or (colon and not rest.strip()):
            raise malformed(text)
        if name not in _known_names() and _begins_with_known_name(name):  # such as "aer shots=4"
            raise malformed(text)
        items = [item.strip() for item in rest.split(",")] if colon else []
        positional, preset = None, None
        if items and "=" not in items[0]:
            positional, plus, after = items.pop(0).partition("+")
            preset = after if plus else None
            if not positional:
                way_out = "write it after the option that it belongs to, as in ibm:NAME+PRESET"
                raise InvalidArgument.of("preset", after, way_out)
        return cls(name, positional, preset, tuple(_read_options(text, name, items)))

    @classmethod
    def parse_list(cls, text: str) -> list["BackendSpec"]:
        """Read a list of backends with commas between them.

        A part that is an option belongs to the backend before it.

        Args:
            text: For example "statevector,aer:shots=4096,seed=1,ibm:fake_torino".

        Raises:
            InvalidArgument: If the list begins with an option, a name is missing between commas,
                or a part cannot be read.

        Example:
            >>> list(map(str, BackendSpec.parse_list("aer:shots=4096,seed=1,ibm:fake_torino")))
            ['aer:shots=4096,seed=1', 'ibm:fake_torino']
        """
        parts: list[str] = []
        for part in text.split(","):
            if not part.strip():
                way_out = "a name is missing between two commas, or at an end"
                raise InvalidArgument.of("backends", text, way_out)
            if not _OPTION.match(part):
                parts.append(part.strip())
            elif parts:
                parts[-1] += f",{part.strip()}"
            else:
                way_out = "it begins with an option; begin with the name of a backend"
                raise InvalidArgument.of("backends", text, way_out)
        return [cls.parse(part) for part in parts]

    def option(self, name: str) -> str | None:
        """Return the value of an option as it was written, or None if it is not given."""
        return dict(self.options).get(name)

    def with_option(self, name: str, value: object) -> "BackendSpec":
        """Return this spec with an option replaced, or added at the end.

        Args:
            name: The option.
            value: Its value, which is written by `str`.
        """
        return replace(self, options=tuple((dict(self.options) | {name: str(value)}).items()))

    def with_shots(self, shots: int | None) -> "BackendSpec":
        """Return this spec with its shots replaced, or added at the end.

        Args:
            shots: Shots per circuit; None means exact.

        Raises:
            InvalidArgument: If it is neither None nor a positive integer.
        """
        check_shots(shots)
        return self.with_option("shots", shots)

    def __str__(self) -> str:
        items = [f"{option}={value}" for option, value in self.options]
        if self.positional is not None:
            preset = "" if self.preset is None else f"+{self.preset}"
            items.insert(0, f"{self.positional}{preset}")
        return f"{self.name}:{','.join(items)}" if items else self.name


def malformed(text: str) -> InvalidArgument:
    """Make the error of a text that is not in the notation."""
    way_out = "write NAME, or NAME:option=value,option=value as in 'aer:shots=100,seed=1'"
    return InvalidArgument.of("backend", text, way_out)


def _known_names() -> set[str]:
    return {*catalogue.names("backends"), *qml.plugin_devices, *PLUGINS}


def _begins_with_known_name(name: str) -> bool:
    first = _FIRST_WORD.match(name)
    return first is None or not first[0] or first[0] in _known_names()


def _split_name(text: str) -> tuple[str, str, str]:
    """Split the name from its options, and return the colon between them if there is one.

    The name itself has a colon in "package.module:Class".
    """
    head, colon, rest = text.partition(":")
    first, second_colon, after = rest.partition(":")
    if head.strip() in _known_names() or not colon or "=" in first:
        return head.strip(), colon, rest
    return f"{head}:{first}", second_colon, after


def _read_options(text: str, name: str, items: list[str]) -> list[tuple[str, str]]:
    options: dict[str, str] = {}
    for item in items:
        option, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not option:
            way_out = f"options of {name!r} are written option=value, with commas between"
            raise InvalidArgument.of("backend", item, way_out)
        if _OPTION_AFTER_COLON.search(value):
            raise malformed(text)
        if option in options:
            way_out = f"this option of backend {name!r} is given twice"
            raise InvalidArgument.of(option, value, way_out)
        options[option] = value
    return list(options.items())
