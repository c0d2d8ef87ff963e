"""Requests go through the journal: looked up, sent once, waited for, and kept."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hybridq.backends._ibm.journal import Arrays, Entry, Journal
from hybridq.backends._ibm.runtime import Runtime, Unreachable, clean, has_failed, patiently, usage
from hybridq.errors import BackendUnavailable, BudgetExceeded

__all__ = ["Plan", "Request", "Runs", "collect"]


@dataclass(frozen=True, eq=False)
class Request:
    """One job that is wanted.

    Args:
        content: The hash of everything that its numbers depend on.
        columns: What the journal says of it, without the estimate.
    """

    content: str
    columns: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Plan:
    """How to run a request.

    Args:
        seconds: What it costs, in QPU seconds.
        send: Sends the job that carries a tag; the second argument is the request's key.
        read: Turns the job's result into arrays.
    """

    seconds: float
    send: Callable[[str, str], Any]
    read: Callable[[Any], Arrays]


@dataclass(eq=False)
class Runs:
    """Runs requests, each of them once.

    Args:
        runtime: The device.
        journal: Where they are written down.
        limit: QPU seconds that may be used in all; None means no limit.
        shared: Whether the journal holds other runs, too, whose cost does not count here.
    """

    runtime: Runtime
    journal: Journal
    limit: float | None
    shared: bool
    tags: list[str] = field(default_factory=list, init=False)

    def results(
        self, requests: list[Request], plan: Callable[[int], Plan], sent: Callable[[int], None]
    ) -> list[Arrays]:
        """Give the results of requests: from the journal, or from jobs, all of them sent before the first is waited for.

        Args:
            requests: What is wanted.
            plan: How to run the request of a number. It is not called if the journal has all
                results, so that these can be had without an account.
            sent: Called with the number of a request whose job was sent.

        Raises:
            BudgetExceeded: If the limit does not allow it. Nothing is sent.
            BackendUnavailable: If the service refuses or cannot be reached, or a job has failed.
            DataCorrupted: If the journal is damaged.
        """
        keys = [self.journal.key(request.content) for request in requests]
        found = [self.journal.find(key) for key in keys]
        missing = [n for n, entry in enumerate(found) if entry is None or entry.state != "done"]
        plans = {n: plan(n) for n in missing}
        jobs = {}
        if missing:
            with self.journal.lock():  # another process may have sent them while this one compiled
                found = [self.journal.find(key) for key in keys]
                self._check_budget([plans[n].seconds for n in missing if found[n] is None])
                for n in missing:
                    entry, job = self._ensure(
                        found[n], keys[n], requests[n], plans[n], partial(sent, n)
                    )
                    found[n], jobs[entry.tag] = entry, (job, plans[n].read)
        tags = [entry.tag for entry in found if entry is not None]
        self.tags += [tag for tag in tags if tag not in self.tags]
        for tag, (job, read) in jobs.items():
            if job is not None:
                collect(self.journal, tag, job, read)
        arrays = [self.journal.result(tag) for tag in tags]
        for request in requests:
            self.journal.count(request.content)
        return arrays

    def spent(self) -> float:
        """QPU seconds so far, as reported, and as estimated for jobs whose usage is not known."""
        return self.journal.spent(set(self.tags) if self.shared else None)

    def _check_budget(self, seconds: list[float]) -> None:
        spent = self.spent()
        if self.limit is not None and seconds and spent + sum(seconds) > self.limit:
            raise BudgetExceeded(sum(seconds), spent, self.limit)

    def _ensure(
        self, entry: Entry | None, key: str, request: Request, plan: Plan, sent: Callable[[], None]
    ) -> tuple[Entry, Any]:
        """The row of a request and its job; no job if the row has a result."""
        if entry is not None and entry.state == "done":
            return entry, None
        new = entry is None
        entry = entry or self.journal.intend(key, **request.columns, estimated_seconds=plan.seconds)
        if entry.job_id is not None and (known := self.runtime.fetch(entry.job_id)) is not None:
            return entry, known
        tag, maybe_sent = entry.tag, not new

        def attempt() -> Any:
            nonlocal maybe_sent
            job = self.runtime.adopt(tag) if maybe_sent else None
            if job is None:
                maybe_sent = (
                    True  # should its answer get lost, it is looked for before it is sent again
                )
                job = plan.send(tag, key)
                sent()
            return job

        try:
            job = patiently(attempt, f"sending the job tagged {tag}")
        except Unreachable:
            raise
        except BackendUnavailable as error:
            self.journal.failed(tag, str(error))
            raise
        self.journal.sent(tag, job.job_id())
        return entry, job


def collect(journal: Journal, tag: str, job: Any, read: Callable[[Any], Arrays]) -> None:
    """Wait for a job, and keep its result and its usage.

    Raises:
        BackendUnavailable: If the job has failed, or the service cannot be reached.
    """

    def wait() -> Any:
        try:
            with warnings.catch_warnings():  # of the runtime's own extrapolation, which is not used
                warnings.filterwarnings(
                    "ignore", "No positive, finite standard errors", UserWarning
                )
                return job.result()
        except Exception as error:
            if has_failed(error):
                reason = clean(error)
                journal.failed(
                    tag, reason, "cancelled" if job.status() == "CANCELLED" else "failed"
                )
                if (seconds := usage(job)) is not None:
                    journal.used(tag, seconds)
                raise BackendUnavailable(
                    f"job {job.job_id()}: {reason}. Evaluating again sends a new job"
                ) from None
            raise

    result = patiently(wait, f"waiting for job {job.job_id()}")
    journal.done(tag, read(result))
    if (seconds := usage(job)) is not None:
        journal.used(tag, seconds)
