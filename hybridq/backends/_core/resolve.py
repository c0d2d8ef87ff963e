"""From a name, or a name with options, to a backend."""

import dataclasses
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

import pennylane as qml

from hybridq import __version__, catalogue
from hybridq.backends._core.contract import AbstractBackend
from hybridq.backends._core.pennylane_device import PennyLaneDevice
from hybridq.errors import InvalidArgument, MissingExtra, UnknownName

__all__ = ["BackendInfo", "available", "resolve"]

# PennyLane devices that come in distributions of their own.
_PLUGINS = {
    "lightning.gpu": "pennylane-lightning-gpu",
    "lightning.kokkos": "pennylane-lightning-kokkos",
    "lightning.qubit": "pennylane-lightning",
}
# What PennyLane's own devices need beyond PennyLane.
_NEEDS = {"default.tensor": "quimb"}
# PennyLane devices that do not simulate rotations of qubits, and our own. `resolve` takes them, but
# for `null.qubit`.
_QUTRITS = {"default.qutrit", "default.qutrit.mixed"}
_UNLISTED = {"default.clifford", "default.gaussian", "hybridq.qiskit", "null.qubit", *_QUTRITS}


@dataclass(frozen=True)
class BackendInfo:
    """What `hybridq backends` says of one backend.

    Args:
        name: What `resolve` takes.
        kind: "hybridq" for a file of this folder, "PennyLane" for a device of PennyLane.
        installed: Whether it can be used here.
        version: The version of what it runs on; empty if not installed.
        missing: What is not installed.
        install: The command that installs it.
    """

    name: str
    kind: Literal["hybridq", "PennyLane"]
    installed: bool
    version: str
    missing: str = ""
    install: str = ""


def resolve(backend: str | AbstractBackend) -> AbstractBackend:
    """Make a backend from its name.

    Args:
        backend: A name (`hybridq backends` lists them): a file of this folder, an installed
            PennyLane device, or "package.module:Class" for a class of your own. Options may follow
            a colon: "aer:noise=fake_torino,shots=1024", or
            "aer:depolarizing=0.01,readout_error=0.02,shots=4096". A tuple is written
            "initial_layout=4-5-6". An IBM device follows its backend's name by itself, with a
            preset after a plus sign: "ibm:fake_torino+mitigated,shots=4096". A backend object is
            returned as it is.

    Returns:
        The backend.

    Raises:
        UnknownName: If no backend has this name, or it has no such option. The message lists the
            nearest ones.
        InvalidArgument: If an option's value cannot be used, or the class is no backend.
        MissingExtra: If the backend's SDK, or the distribution of the PennyLane device, is not
            installed.

    Example:
        >>> resolve("default.qubit:shots=100")
        PennyLaneDevice(device_name='default.qubit', shots=100, seed=0, diff_method='best',
                        depolarizing=0.0, damping=0.0, readout_error=0.0)
    """
    if isinstance(backend, AbstractBackend):
        return backend
    if not isinstance(backend, str):
        raise InvalidArgument.of("backend", backend, "give a name or a backend object")
    name, options = _split(backend)
    cls, fixed = _find(name)
    return cls(**fixed, **_parse(name, cls, options, fixed))


def _split(text: str) -> tuple[str, str]:
    """The name and the options."""
    head, _, tail = text.partition(":")
    if (
        tail
        and head in catalogue.names("backends")
        and catalogue.load("backends", head).positional is not None
    ):
        return head, tail  # an option's value may have colons of its own
    head, colon, tail = text.rpartition(":")
    return (head, tail) if colon and "=" in tail else (text, "")


def _find(name: str) -> tuple[type[AbstractBackend], dict[str, str]]:
    if name in qml.plugin_devices:
        return PennyLaneDevice, {"device_name": name}
    if name in _PLUGINS:
        raise MissingExtra(
            f"{name} is not installed. Install it with: pip install {_PLUGINS[name]}"
        )
    known = {*catalogue.names("backends"), *qml.plugin_devices, *_PLUGINS} - {"null.qubit"}
    begins = re.match(r"[\w.]*", name.strip())
    first = begins[0] if begins else ""
    if name not in known and (not first or first in known):
        raise InvalidArgument.of(
            "backend",
            name,
            "write NAME, or NAME:option=value,option=value as in 'aer:shots=100,seed=1'",
        )
    if ":" not in name and name not in known:
        raise UnknownName.among("backend", name, known)
    cls = catalogue.load("backends", name)
    if not (isinstance(cls, type) and issubclass(cls, AbstractBackend)):
        raise InvalidArgument.of(
            "backend", name, "this is not a class derived from hybridq.backends.AbstractBackend"
        )
    return cls, {}


def _parse(
    name: str, cls: type[AbstractBackend], options: str, fixed: dict[str, str]
) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    known = {
        f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init and f.name not in fixed
    }
    values: dict[str, Any] = {}
    preset: dict[str, Any] = {}
    for number, part in enumerate(options.split(",") if options else []):
        option, equals, text = part.partition("=")
        option = option.strip()
        if not equals and not number and cls.positional is not None:
            text, plus, chosen = option.partition("+")
            if plus and chosen not in cls.presets:
                raise UnknownName.among(f"preset of backend {name!r}", chosen, cls.presets)
            option, preset = cls.positional, dict(cls.presets[chosen]) if plus else {}
        elif not equals:
            raise InvalidArgument.of(
                "backend",
                part,
                f"options of {name!r} are written option=value, with commas between",
            )
        if option == "shots" and option not in known:
            raise UnknownName(
                f"{part}: backend {name!r} takes no shots. One that does: 'aer:shots=100'."
            )
        if option not in known:
            raise UnknownName.among(f"option of backend {name!r}", option, known)
        if option in values:
            raise InvalidArgument.of(
                option, text, f"this option of backend {name!r} is given twice"
            )
        values[option] = _convert(option, text.strip(), known[option])
    return preset | values


def _convert(option: str, text: str, hint: Any) -> Any:
    """Read a value of the field's type; of a union, the first type that fits."""
    choices = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (types.UnionType, typing.Union)
        else (hint,)
    )
    if type(None) in choices and text.lower() == "none":
        return None
    for choice in choices:
        if typing.get_origin(choice) is Literal:
            if text in typing.get_args(choice):
                return text
        elif choice is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
        elif choice is not type(None):
            try:
                return (
                    tuple(map(int, text.split("-")))
                    if typing.get_origin(choice) is tuple
                    else choice(text)
                )
            except ValueError:
                continue
    raise InvalidArgument.of(option, text, f"this is not of the type {_describe(choices)}")


def _describe(choices: Sequence[Any]) -> str:
    return " or ".join(
        "None" if c is type(None) else c.__name__ if isinstance(c, type) else str(c)
        for c in choices
    )


def available() -> list[BackendInfo]:
    """List the backends, without importing their SDKs.

    Returns:
        Those that can be used here, and those that an installation away could; first hybridq's own.
    """
    own = [_own(name) for name in catalogue.names("backends")]
    devices = [
        BackendInfo(name, "PennyLane", True, f"{device.dist.name} {device.dist.version}")
        for name, device in sorted(qml.plugin_devices.items())
        if name not in _UNLISTED and _version(_NEEDS.get(name, "pennylane"))
    ]
    absent = [
        BackendInfo(name, "PennyLane", False, "", distribution, f"pip install {distribution}")
        for name, distribution in _NEEDS.items()
        if not _version(distribution)
    ]
    absent += [
        BackendInfo(name, "PennyLane", False, "", distribution, f"pip install {distribution}")
        for name, distribution in _PLUGINS.items()
        if name not in qml.plugin_devices
    ]
    return [*own, _aer_gpu(), *devices, *absent]


def _own(name: str) -> BackendInfo:
    cls: type[AbstractBackend] = catalogue.load("backends", name)
    missing = [distribution for distribution in cls.distributions if not _version(distribution)]
    if missing:
        install = f"pip install 'hybridq-toolkit[{cls.extra}]'"
        return BackendInfo(name, "hybridq", False, "", ", ".join(missing), install)
    versions = [f"{distribution} {_version(distribution)}" for distribution in cls.distributions]
    return BackendInfo(name, "hybridq", True, ", ".join(versions) or f"hybridq {__version__}")


def _aer_gpu() -> BackendInfo:
    name, found = "aer:processor=GPU", _version("qiskit-aer-gpu")
    if found:
        return BackendInfo(name, "hybridq", True, f"qiskit-aer-gpu {found}")
    install = "pip uninstall qiskit-aer && pip install 'hybridq-toolkit[gpu]'"
    return BackendInfo(
        name, "hybridq", False, "", "qiskit-aer-gpu, in place of qiskit-aer", install
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
