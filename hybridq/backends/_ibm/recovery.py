"""Jobs of a journal without the process that sent them: they are cancelled, or waited for."""

import json
from typing import Any

from hybridq.backends._ibm.dispatcher import collect
from hybridq.backends._ibm.journal import Journal, JournalEntry
from hybridq.backends._ibm.mitigation import Mitigation
from hybridq.backends._ibm.runtime import Runtime, patiently, usage
from hybridq.errors import InvalidArgument

__all__ = ["cancel_job", "resume_job"]


def cancel_job(journal: Journal, job: str) -> JournalEntry:
    """Cancel a job that has no result yet. The time that it has used so far stays charged.

    Args:
        journal: The journal.
        job: The id or the tag of the job.

    Returns:
        The row as it was.

    Raises:
        InvalidArgument: If there is no such job, or it has ended.
        BackendUnavailable: If the service refuses or cannot be reached.
    """
    with journal.lock():  # nothing is being sent meanwhile
        entry = journal.get(job)
        if entry.state not in ("intended", "sent"):
            way_out = f"it is {entry.state}; only a job without a result can be cancelled"
            raise InvalidArgument.of("job", job, way_out)
        runtime_job = _find(entry)
        if runtime_job is not None:
            patiently(runtime_job.cancel, f"cancelling job {runtime_job.job_id()}")
        journal.failed(entry.tag, "cancelled by `hybridq jobs cancel`", "cancelled")
    return entry


def resume_job(journal: Journal, entry: JournalEntry) -> str:
    """Wait for a job without a result, or ask for the usage of one whose usage is not known.

    Args:
        journal: The journal.
        entry: The job's row.

    Returns:
        A sentence about what was done; empty if there was nothing to do.

    Raises:
        BackendUnavailable: If the job has failed, or the service cannot be reached.
    """
    waiting = entry.state in ("intended", "sent")
    if not waiting and (entry.state != "done" or entry.used_seconds is not None):
        return ""
    runtime_job = _find(entry)
    if runtime_job is None:
        lost = "was never sent, or ran in a process that is gone; evaluating again sends it"
        return lost if waiting else ""
    if not waiting:
        seconds = usage(runtime_job)
        if seconds is None:
            return ""
        journal.used(entry.tag, seconds)
        return f"used {seconds:.2f} QPU seconds"
    if entry.job_id is None:
        journal.sent(entry.tag, runtime_job.job_id())
    options: dict[str, Any] = json.loads(entry.options)
    names = ("readout_mitigation", "twirling", "dynamical_decoupling", "zne")
    mitigation = Mitigation(*(options[name] for name in names))
    collect(journal, entry.tag, runtime_job, mitigation.read)
    return "done"


def _find(entry: JournalEntry) -> Any:
    """Return the runtime's job of a row, or None."""
    runtime = Runtime(entry.device, entry.instance, entry.channel, "job")
    if entry.job_id is not None:
        return runtime.fetch(entry.job_id)
    return patiently(lambda: runtime.adopt(entry.tag), f"looking for the job tagged {entry.tag}")
