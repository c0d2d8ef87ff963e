"""What an evaluation costs on a QPU, before it is sent."""

import math
from dataclasses import dataclass

__all__ = ["JOB_EXECUTIONS", "Cost", "Estimate", "points_per_job"]

JOB_EXECUTIONS = 10_000_000  # IBM's limit of a job
_JOB_NUMBERS = 2**24  # of parameters, or of counts: 128 MB
_OVERHEAD = 2.0


@dataclass(frozen=True)
class Cost:
    """What one circuit costs on one device.

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
        """Executions of circuits in a job of so many points."""
        return self.shots * (points * self.factor + self.calibrations)

    def seconds(self, points: int) -> float:
        """QPU seconds of a job of so many points."""
        return self.executions(points) * (self.duration + self.rep_delay) + _OVERHEAD


def points_per_job(shots: int, factor: int, calibrations: int, width: int) -> int:
    """The most points that one job may have; 0 if one is too many.

    Args:
        shots: Shots per point.
        factor: Circuits that are run for one point.
        calibrations: Circuits that a job adds.
        width: Numbers that go or come with each point.
    """
    most = (JOB_EXECUTIONS // shots - calibrations) // factor
    return max(0, min(most, max(1, _JOB_NUMBERS // max(1, width))))


@dataclass(frozen=True)
class Estimate:
    """What an evaluation will cost. `str` writes out the formula and what it assumes.

    Args:
        device: Where.
        circuits: Points of inputs and weights, those of the gradient included.
        jobs: Jobs.
        executions: Circuits times shots, with those of error mitigation.
        qpu_seconds: QPU seconds of all jobs.
        cost: What one circuit costs.
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
            device: Where.
            cost: What one circuit costs.
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
        return "\n".join(
            [
                f"device       {self.device}",
                f"circuits     {self.circuits}",
                f"shots        {cost.shots} each",
                f"jobs         {self.jobs}",
                f"executions   {self.executions} = shots x ({cost.factor} x circuits + {cost.calibrations} x jobs)",
                f"QPU seconds  {self.qpu_seconds:.2f} = executions x (duration + rep_delay) + jobs x overhead",
                f"             duration  {cost.duration * 1e6:.2f} us: the longest path by the device's gate times",
                f"             rep_delay {cost.rep_delay * 1e6:.2f} us: the device's default",
                f"             overhead  {_OVERHEAD:g} s a job: assumed, for loading and calibrating",
                "Assumed: no other time is charged. A session charges the time that it is open, also between jobs.",
            ]
        )
