"""Jobs go through the journal: looked up, sent once, waited for, and kept."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hybridq.backends._ibm.job import IbmJob
from hybridq.backends._ibm.journal import Arrays, Journal, JournalEntry
from hybridq.backends._ibm.runtime import Runtime, Unreachable, clean, has_failed, patiently, usage
from hybridq.errors import BackendUnavailable, BudgetExceeded

__all__ = ["Dispatcher", "collect"]


@dataclass(eq=False)
class Dispatcher:
    """Runs jobs, each of them once, within a budget.

    Args:
        runtime: The device.
        journal: Where the jobs are written down.
        limit: QPU seconds that may be used in all; None means no limit.
        shared: Whether the journal holds other runs, too, whose cost does not count here.
        tags: The tags of the jobs so far.
    """

    runtime: Runtime
    journal: Journal
    limit: float | None
    shared: bool
    tags: list[str] = field(default_factory=list, init=False)

    def results(self, jobs: list[IbmJob], sent: Callable[[IbmJob], None]) -> list[Arrays]:
        """Give the results of jobs: from the journal, or from IBM.

        All jobs are sent before the first is waited for. If the journal has all results, nothing
        is compiled and no account is needed.

        Args:
            jobs: The jobs that are wanted.
            sent: Called with each job that was sent.

        Returns:
            The arrays of each job, as `IbmJob.read` makes them.

        Raises:
            BudgetExceeded: If the limit does not allow it. Nothing is sent.
            BackendUnavailable: If the service refuses or cannot be reached, or a job has failed.
            DataCorrupted: If the journal is damaged.
        """
        keys = [self.journal.key(job.content) for job in jobs]
        entries = [self.journal.find(key) for key in keys]
        missing = [n for n, entry in enumerate(entries) if entry is None or entry.state != "done"]
        estimates = {n: jobs[n].seconds for n in missing}  # which compiles the circuits
        waiting: list[tuple[IbmJob, str, Any]] = []
        if missing:
            # Another process may have sent them while this one compiled: look again.
            with self.journal.lock():
                entries = [self.journal.find(key) for key in keys]
                self._check_budget([estimates[n] for n in missing if entries[n] is None])
                for n in missing:
                    known = entries[n]
                    if known is not None and known.state == "done":
                        continue
                    is_new = known is None
                    entry = known or self._intend(jobs[n], keys[n], estimates[n])
                    entries[n] = entry
                    runtime_job = self._find_or_send(jobs[n], entry, keys[n], is_new, sent)
                    waiting.append((jobs[n], entry.tag, runtime_job))
        tags = [entry.tag for entry in entries if entry is not None]
        self.tags += [tag for tag in tags if tag not in self.tags]
        for job, tag, runtime_job in waiting:
            collect(self.journal, tag, runtime_job, job.read)
        arrays = [self.journal.result(tag) for tag in tags]
        for job in jobs:
            self.journal.count(job.content)
        return arrays

    def spent(self) -> float:
        """Add up QPU seconds: as reported, and as estimated for jobs whose usage is not known."""
        return self.journal.spent(set(self.tags) if self.shared else None)

    def _check_budget(self, seconds: list[float]) -> None:
        spent = self.spent()
        if self.limit is not None and seconds and spent + sum(seconds) > self.limit:
            raise BudgetExceeded(sum(seconds), spent, self.limit)

    def _intend(self, job: IbmJob, key: str, seconds: float) -> JournalEntry:
        return self.journal.intend(key, **job.columns, estimated_seconds=seconds)

    def _find_or_send(
        self,
        job: IbmJob,
        entry: JournalEntry,
        key: str,
        is_new: bool,
        sent: Callable[[IbmJob], None],
    ) -> Any:
        """Return the runtime's job of a row of the journal, and send it if there is none.

        Args:
            job: The job.
            entry: Its row, which has no result.
            key: Its key.
            is_new: Whether the row was written just now, so that the job cannot have been sent.
            sent: Called with the job if it was sent.
        """
        if entry.job_id is not None:
            known = self.runtime.fetch(entry.job_id)
            if known is not None:
                return known
        maybe_sent = not is_new

        def attempt() -> Any:
            nonlocal maybe_sent
            runtime_job = self.runtime.adopt(entry.tag) if maybe_sent else None
            if runtime_job is None:
                # Should the answer get lost, the job is looked for before it is sent again.
                maybe_sent = True
                runtime_job = job.send(entry.tag, key)
                sent(job)
            return runtime_job

        try:
            runtime_job = patiently(attempt, f"sending the job tagged {entry.tag}")
        except Unreachable:
            raise
        except BackendUnavailable as error:
            self.journal.failed(entry.tag, str(error))
            raise
        self.journal.sent(entry.tag, runtime_job.job_id())
        return runtime_job


def collect(journal: Journal, tag: str, runtime_job: Any, read: Callable[[Any], Arrays]) -> None:
    """Wait for a job, and keep its result and its usage.

    Args:
        journal: Where they are written down.
        tag: The tag of the job.
        runtime_job: The runtime's job.
        read: Turns its result into arrays.

    Raises:
        BackendUnavailable: If the job has failed, or the service cannot be reached.
    """

    def wait() -> Any:
        try:
            with warnings.catch_warnings():  # of the runtime's own extrapolation, which is not used
                warnings.filterwarnings(
                    "ignore", "No positive, finite standard errors", UserWarning
                )
                return runtime_job.result()
        except Exception as error:
            if not has_failed(error):
                raise
            reason = clean(error)
            state = "cancelled" if runtime_job.status() == "CANCELLED" else "failed"
            journal.failed(tag, reason, state)
            _note_usage(journal, tag, runtime_job)
            raise BackendUnavailable(
                f"job {runtime_job.job_id()}: {reason}. Evaluating again sends a new job"
            ) from None

    result = patiently(wait, f"waiting for job {runtime_job.job_id()}")
    journal.done(tag, read(result))
    _note_usage(journal, tag, runtime_job)


def _note_usage(journal: Journal, tag: str, runtime_job: Any) -> None:
    seconds = usage(runtime_job)
    if seconds is not None:
        journal.used(tag, seconds)
