"""Make a backend from its name and options, and list the backends that there are."""

import dataclasses
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
from hybridq.backends._core.spec import PLUGINS, BackendSpec, malformed
from hybridq.errors import InvalidArgument, MissingExtra, UnknownName

__all__ = ["BackendInfo", "available", "resolve"]

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


def resolve(backend: str | BackendSpec | AbstractBackend) -> AbstractBackend:
    """Make a backend from its name.

    Args:
        backend: A name (`hybridq backends` lists them): a file of this folder, an installed
            PennyLane device, or "package.module:Class" for a class of your own. Options may follow
            a colon: "aer:noise=fake_torino,shots=1024", or
            "aer:depolarizing=0.01,readout_error=0.02,shots=4096". A tuple is written
            "initial_layout=4-5-6". An IBM device follows its backend's name by itself, with a
            preset after a plus sign: "ibm:fake_torino+mitigated,shots=4096". `BackendSpec` is the
            same notation, taken apart. A backend object is returned as it is.

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
    spec = backend if isinstance(backend, BackendSpec) else BackendSpec.parse(backend)
    if spec.name in qml.plugin_devices:
        options = _read_options(spec, PennyLaneDevice, hidden={"device_name"})
        return PennyLaneDevice(spec.name, **options)
    cls = _find_class(spec.name)
    return cls(**_read_options(spec, cls, hidden=set()))


def _find_class(name: str) -> type[AbstractBackend]:
    if name in PLUGINS:
        raise MissingExtra(f"{name} is not installed. Install it with: pip install {PLUGINS[name]}")
    files = catalogue.names("backends")
    if ":" not in name and name not in files:
        known = {*files, *qml.plugin_devices, *PLUGINS} - {"null.qubit"}
        raise UnknownName.among("backend", name, known)
    cls = catalogue.load("backends", name)
    if not (isinstance(cls, type) and issubclass(cls, AbstractBackend)):
        way_out = "this is not a class derived from hybridq.backends.AbstractBackend"
        raise InvalidArgument.of("backend", name, way_out)
    return cls


def _read_options(
    spec: BackendSpec, cls: type[AbstractBackend], hidden: set[str]
) -> dict[str, Any]:
    """Convert the options of a spec to the types of a class's fields.

    Args:
        spec: The spec.
        cls: The class.
        hidden: Fields that are no options.
    """
    hints = typing.get_type_hints(cls)
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    known = {field: hints[field] for field in fields if field not in hidden}
    preset: dict[str, Any] = {}
    options = list(spec.options)
    if spec.positional is not None:
        if cls.positional is None:
            raise malformed(str(spec))
        options.insert(0, (cls.positional, spec.positional))
    if spec.preset is not None:
        if spec.preset not in cls.presets:
            raise UnknownName.among(f"preset of backend {spec.name!r}", spec.preset, cls.presets)
        preset = dict(cls.presets[spec.preset])
    values: dict[str, Any] = {}
    for option, text in options:
        if option == "shots" and option not in known:
            raise UnknownName(
                f"shots={text}: backend {spec.name!r} takes no shots. "
                "One that does: 'aer:shots=100'."
            )
        if option not in known:
            raise UnknownName.among(f"option of backend {spec.name!r}", option, known)
        if option in values:
            way_out = f"this option of backend {spec.name!r} is given twice"
            raise InvalidArgument.of(option, text, way_out)
        values[option] = _convert(option, text, known[option])
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
    files = [_of_file(name) for name in catalogue.names("backends")]
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
        for name, distribution in PLUGINS.items()
        if name not in qml.plugin_devices
    ]
    return [*files, _aer_gpu(), *devices, *absent]


def _of_file(name: str) -> BackendInfo:
    try:
        cls: type[AbstractBackend] = catalogue.load("backends", name)
    except InvalidArgument as error:
        # One file that cannot be imported does not hide the others. Using it raises.
        return BackendInfo(name, "hybridq", False, "", str(error), "repair that file")
    missing = [distribution for distribution in cls.distributions if not _version(distribution)]
    if missing:
        install = f"pip install 'hybridq-toolkit[{cls.extra}]'"
        return BackendInfo(name, "hybridq", False, "", ", ".join(missing), install)
    versions = [f"{distribution} {_version(distribution)}" for distribution in cls.distributions]
    return BackendInfo(name, "hybridq", True, ", ".join(versions) or f"hybridq {__version__}")


def _aer_gpu() -> BackendInfo:
    name = "aer:processor=GPU"
    installed = _version("qiskit-aer-gpu")
    if installed:
        return BackendInfo(name, "hybridq", True, f"qiskit-aer-gpu {installed}")
    install = "pip uninstall qiskit-aer && pip install 'hybridq-toolkit[gpu]'"
    return BackendInfo(
        name, "hybridq", False, "", "qiskit-aer-gpu, in place of qiskit-aer", install
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
