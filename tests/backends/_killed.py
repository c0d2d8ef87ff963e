"""Evaluate on the stub service and get killed: `python -m tests.backends._killed FOLDER KILLS`.

KILLS say, with commas between, when a process that evaluates is killed, then the next one, and so
on; a last one runs to its end and writes `result.json`. All are forked from one that has done the
imports. A kill is
- "accepted": when the service has a job that the process has not been told of;
- "sent": when the journal has the job's id, and the job still runs;
- a number: that fraction of the time that an undisturbed process takes.

With "together" in the place of KILLS, two processes run at the same time, to `0.json` and `1.json`.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hybridq.backends._ibm import runtime
from hybridq.backends._ibm.journal import Journal
from hybridq.backends.ibm import Ibm
from hybridq.circuits import Circuit, RyRzCnot
from tests.backends._stub_service import DEVICE, StubClient, StubService

__all__ = ["evaluate", "use"]

DELAY, ANSWER = (
    0.3,
    0.1,
)  # seconds that a job takes, and that the service takes to say that it has it


def use(client: StubClient, patch: Any = setattr) -> None:
    """From now on, the account is that of the stub."""
    patch(runtime.Runtime, "_service", property(lambda _: StubService(client)))


def evaluate(folder: Path) -> dict[str, Any]:
    """Two evaluations at the same angles, with a gradient."""
    backend = Ibm(DEVICE, shots=256, journal=folder / "jobs.sqlite")
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    weights = torch.full(circuit.weight_shape, 0.3, dtype=torch.float64, requires_grad=True)
    inputs = torch.linspace(0, 2, 3, dtype=torch.float64)[:, None]
    outputs = [backend.evaluate(circuit, inputs, weights) for _ in range(2)]
    (gradient,) = torch.autograd.grad(outputs[0].sum(), weights)
    return {
        "outputs": [o.tolist() for o in outputs],
        "gradient": gradient.tolist(),
        "sent": backend.jobs_run,
    }


def start(folder: Path, name: str) -> int:
    child = os.fork()
    if not child:
        (folder / f"new-{name}").write_text(json.dumps(evaluate(folder)))
        (folder / f"new-{name}").rename(folder / name)
        os._exit(0)
    return child


def together(folder: Path) -> None:
    for child in [start(folder, f"{number}.json") for number in range(2)]:
        if os.waitpid(child, 0)[1]:
            sys.exit("a process has failed")


def main(place: Path, kills: list[str]) -> None:
    seconds = undisturbed(place) if any(kill not in MOMENTS for kill in kills) else 0.0
    use(StubClient(place / "service", DELAY, ANSWER))
    for kill in kills:
        child = start(place, "result.json")
        if kill in MOMENTS:
            wait_until(MOMENTS[kill], place)
        else:
            time.sleep(float(kill) * seconds)
        os.kill(child, signal.SIGKILL)
        print(os.WIFSIGNALED(os.waitpid(child, 0)[1]))
    if os.waitpid(start(place, "result.json"), 0)[1]:
        sys.exit("the last process has failed")


def undisturbed(place: Path) -> float:
    use(StubClient(place / "undisturbed" / "service", DELAY, ANSWER))
    began = time.monotonic()
    os.waitpid(start(place / "undisturbed", "result.json"), 0)
    return time.monotonic() - began


def wait_until(reached: Callable[[Path], bool], place: Path) -> None:
    deadline = time.monotonic() + 120
    while not reached(place):
        time.sleep(0.001)
        if time.monotonic() > deadline:
            sys.exit("the moment to kill never came")


def accepted(place: Path) -> bool:
    return (place / "service" / "submissions.txt").exists()


def sent(place: Path) -> bool:
    return accepted(place) and any(
        entry.state == "sent" for entry in Journal(place / "jobs.sqlite").entries()
    )


MOMENTS = {"accepted": accepted, "sent": sent}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if sys.argv[2] == "together":
        use(StubClient(folder / "service", DELAY, ANSWER))
        together(folder)
    else:
        main(folder, sys.argv[2].split(","))
