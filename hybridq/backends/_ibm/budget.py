"""The cost of an evaluation on a QPU, before it is sent."""

import math
from dataclasses import dataclass

__all__ = ["JOB_EXECUTIONS", "Cost", "Estimate", "points_per_job"]

JOB_EXECUTIONS = 10_000_000  # IBM's limit of a job
_JOB_NUMBERS = 2**24  # of parameters, or of counts: 128 MB
_OVERHEAD = 2.0  # seconds a job; assumed, for loading and calibrating


@dataclass(frozen=True)
class Cost:
    """The cost of one circuit on one device.

    Args:
        shots: Shots per point.
        factor: Circuits that are run for one point: the noise factors of zero-noise extrapolation,
            otherwise 1.
        calibrations: Circuits of `shots` shots that each job adds: for the mitigation of readout
            errors.
        duration: Of one execution, with its measurement, in seconds.
        rep_delay: Between executions, in seconds.
    """

    shots: int
    factor: int
    calibrations: int
    duration: float
    rep_delay: float

    def executions(self, points: int) -> int:
        """Return the executions of circuits in a job of so many points."""
        return self.shots * (points * self.factor + self.calibrations)

    def seconds(self, points: int) -> float:
        """Return the QPU seconds of a job of so many points."""
        return self.executions(points) * (self.duration + self.rep_delay) + _OVERHEAD


def points_per_job(shots: int, factor: int, calibrations: int, width: int) -> int:
    """Return the most points that one job may have; 0 if one is too many.

    Args:
        shots: Shots per point.
        factor: Circuits that are run for one point.
        calibrations: Circuits that a job adds.
        width: Numbers that are sent or received with each point.
    """
    most = (JOB_EXECUTIONS // shots - calibrations) // factor
    return max(0, min(most, max(1, _JOB_NUMBERS // max(1, width))))


@dataclass(frozen=True)
class Estimate:
    """The cost of an evaluation. `str` writes out the formula and what it assumes.

    Args:
        device: The device's name.
        circuits: Points of inputs and weights, those of the gradient included.
        jobs: Number of jobs.
        executions: Circuits times shots, with those of error mitigation.
        qpu_seconds: QPU seconds of all jobs.
        cost: The cost of one circuit.
    """

    device: str
    circuits: int
    jobs: int
    executions: int
    qpu_seconds: float
    cost: Cost

    @classmethod
    def of(cls, device: str, cost: Cost, sizes: list[int]) -> "Estimate":
        """Add up jobs.

        Args:
            device: The device's name.
            cost: The cost of one circuit.
            sizes: Points of each job.
        """
        seconds = math.fsum(cost.seconds(size) for size in sizes)
        return cls(device, sum(sizes), len(sizes), sum(map(cost.executions, sizes)), seconds, cost)

    @property
    def shots(self) -> int:
        """Shots per circuit."""
        return self.cost.shots

    def __str__(self) -> str:
        cost = self.cost
        formula = f"shots x ({cost.factor} x circuits + {cost.calibrations} x jobs)"
        duration = f"{cost.duration * 1e6:.2f} us: the longest path by the device's gate times"
        lines = [
            f"device       {self.device}",
            f"circuits     {self.circuits}",
            f"shots        {cost.shots} each",
            f"jobs         {self.jobs}",
            f"executions   {self.executions} = {formula}",
            f"QPU seconds  {self.qpu_seconds:.2f} = "
            "executions x (duration + rep_delay) + jobs x overhead",
            f"             duration  {duration}",
            f"             rep_delay {cost.rep_delay * 1e6:.2f} us: the device's default",
            f"             overhead  {_OVERHEAD:g} s a job: assumed, for loading and calibrating",
            "Assumed: no other time is charged. A session charges the time that it is open, also "
            "between jobs.",
        ]
        return "\n".join(lines)
