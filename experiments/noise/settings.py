"""Each noise that is tried."""

from dataclasses import dataclass

from experiments.noise.readout_mitigation import ReadoutMitigated
from hybridq.backends import AbstractBackend, resolve

__all__ = ["LEVELS", "SHOTS", "NoiseSetting", "noise_settings"]

LEVELS = {
    "depolarizing": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "damping": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "readout_error": (0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4),
}
SHOTS = (16, 64, 256, 1024, 4096, 16384)
SHOTS_AT_EVERY_LEVEL = (None, 4096, 256)  # None is exact.
READ_WRONGLY = 0.1  # The readout error, beside none, where the shots vary.


@dataclass(frozen=True)
class NoiseSetting:
    """One noise, and whether it is seen exactly or by shots.

    Args:
        noise: The option of the backend: "depolarizing", "damping" or "readout_error".
        level: The value of the option, a probability.
        shots: Shots per circuit; None means exact.
        mitigated: Whether readout errors are measured and undone.
    """

    noise: str
    level: float
    shots: int | None
    mitigated: bool = False

    def backend(self, seed: int) -> AbstractBackend:
        """Make the backend; the seed is that of the shots."""
        noisy = resolve(f"aer:{self.noise}={self.level},shots={self.shots},seed={seed}")
        return ReadoutMitigated(noisy) if self.mitigated else noisy


def noise_settings(smoke: bool) -> list[NoiseSetting]:
    """List every setting, each once.

    Args:
        smoke: Whether to list a few only, with all kinds of noise among them.

    Returns:
        The settings.
    """
    settings = []
    for noise, levels in LEVELS.items():
        mitigations = (False, True) if noise == "readout_error" else (False,)
        settings += [
            NoiseSetting(noise, level, shots, mitigated)
            for level in levels
            for shots in SHOTS_AT_EVERY_LEVEL
            for mitigated in mitigations
        ]
    for level in (0.0, READ_WRONGLY):
        settings += [NoiseSetting("readout_error", level, shots) for shots in SHOTS]
    settings += [NoiseSetting("readout_error", READ_WRONGLY, shots, True) for shots in SHOTS]
    settings = list(dict.fromkeys(settings))
    return [each for each in settings if each.level in (0.0, 0.1)] if smoke else settings
