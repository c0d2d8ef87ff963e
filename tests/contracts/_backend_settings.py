"""How each backend is made in the tests that all of them share: from its class, not from a list."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from hybridq import catalogue
from hybridq.backends import AbstractBackend
from hybridq.backends._core.pennylane_device import PennyLaneDevice
from hybridq.errors import BackendUnavailable, MissingExtra

__all__ = ["DEVICES", "FILES", "SETTINGS", "SHOTS", "Setting"]

SHOTS = 4096


@dataclass(frozen=True)
class Setting:
    """One backend with the options with which it goes through the suite.

    Args:
        name: The name of its file, or of the PennyLane device.
        build: Makes it, with options that replace those of the setting.
        shots: The shots that it is given; None leaves its default.
    """

    name: str
    build: Callable[..., AbstractBackend]
    shots: int | None = None

    def make(self, **options: Any) -> AbstractBackend:
        """Make the backend, or skip the test where it cannot or should not run."""
        try:
            backend = self.build(**options)
        except (MissingExtra, BackendUnavailable) as error:
            pytest.skip(str(error))
        if backend.capabilities.costs_money:
            pytest.skip("spends money")
        return backend

    @property
    def takes_shots(self) -> bool:
        """Whether shots are an option."""
        kind = PennyLaneDevice if self.name in DEVICES else catalogue.load("backends", self.name)
        return "shots" in _options(kind)

    def __str__(self) -> str:
        return self.name if self.shots is None else f"{self.name}:shots={self.shots}"


def _options(kind: type[AbstractBackend]) -> set[str]:
    return {option.name for option in dataclasses.fields(kind) if option.init}


def _settings_of_file(name: str) -> list[Setting]:
    """Return a file's settings: as it is made by default, and with shots if it takes them.

    The class says two things itself: `trial_options`, which replace its defaults where these need
    an account or spend money, and `needs_shots`, if there is no default without shots.
    """
    kind: type[AbstractBackend] = catalogue.load("backends", name)
    build = partial(kind, **kind.trial_options)
    settings = [] if kind.needs_shots else [Setting(name, build)]
    if "shots" in _options(kind):
        seed = {"seed": 1} if "seed" in _options(kind) else {}
        settings.append(Setting(name, partial(build, shots=SHOTS, **seed), SHOTS))
    return settings


# PennyLane devices are no files of ours. One of them differentiates a state, the other does not.
DEVICES = ("default.qubit", "lightning.qubit")
_OF_DEVICES = [
    *(Setting(name, partial(PennyLaneDevice, name)) for name in DEVICES),
    Setting("default.qubit", partial(PennyLaneDevice, "default.qubit", shots=SHOTS, seed=2), SHOTS),
]
FILES = [setting for name in catalogue.names("backends") for setting in _settings_of_file(name)]
SETTINGS = [*FILES, *_OF_DEVICES]
