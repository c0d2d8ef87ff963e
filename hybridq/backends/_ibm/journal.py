"""The journal of jobs: each is written down before it is sent, so that none is lost or paid twice.

A row is written before its job is sent, with a tag of its own that the job carries. A process that
is killed leaves behind
- a row without a job id: the job is looked for by its tag, and sent only if there is none;
- a row with a job id: that job is fetched;
- a row with a result: that result is returned.

The key of a row is the content of the request and how often this process has already been given a
result for that content: asking twice draws new shots, and a process that starts again is given what
it was given before.
"""

import io
import os
import sqlite3
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from hybridq.errors import BackendUnavailable, DataCorrupted, InvalidArgument

__all__ = ["Arrays", "Journal", "JournalEntry", "default_journal"]

Arrays = dict[str, npt.NDArray[Any]]

_COLUMNS = {
    "tag": "TEXT PRIMARY KEY",
    "key": "TEXT UNIQUE",  # NULL once the job has failed: then it may be sent again
    "state": "TEXT NOT NULL",
    "job_id": "TEXT",
    "device": "TEXT NOT NULL",
    "instance": "TEXT",
    "channel": "TEXT",
    "circuit_hash": "TEXT NOT NULL",
    "parameters_hash": "TEXT NOT NULL",
    "circuits": "INTEGER NOT NULL",
    "shots": "INTEGER NOT NULL",
    "options": "TEXT NOT NULL",
    "estimated_seconds": "REAL NOT NULL",
    "used_seconds": "REAL",
    "created": "TEXT NOT NULL",
    "finished": "TEXT",
    "reason": "TEXT",
    "result": "BLOB",
}
_NAMES = [name for name in _COLUMNS if name != "result"]
_LOCK_SECONDS = 600.0
# By journal and content. It belongs to the process, not to an object.
_delivered: Counter[tuple[str, str]] = Counter()
_guard = threading.Lock()


@dataclass(frozen=True)
class JournalEntry:
    """A row of the journal, without its result.

    Args:
        tag: The tag that the job carries.
        key: Content and occurrence; None once the job has failed.
        state: "intended" (written before sending), "sent", "done", "failed" or "cancelled".
        job_id: The service's id.
        device: The device that was asked for.
        instance: The instance that was asked for.
        channel: The channel that was asked for.
        circuit_hash: Of the circuit's structure.
        parameters_hash: Of the points.
        circuits: Number of points.
        shots: Shots per point.
        options: The other options that the numbers depend on, as JSON.
        estimated_seconds: QPU seconds, before sending.
        used_seconds: QPU seconds, as the service reports them.
        created: When the row was written, UTC.
        finished: When the result was written, UTC.
        reason: Why the job failed.
    """

    tag: str
    key: str | None
    state: str
    job_id: str | None
    device: str
    instance: str | None
    channel: str | None
    circuit_hash: str
    parameters_hash: str
    circuits: int
    shots: int
    options: str
    estimated_seconds: float
    used_seconds: float | None
    created: str
    finished: str | None
    reason: str | None


@dataclass(eq=False)
class Journal:
    """An SQLite file. Any number of processes may use it at the same time.

    It keeps SQLite's rollback journal and not a write-ahead log, which fails on the network drives
    that run folders lie on. Every transaction is on the disk before the next step
    (`synchronous=FULL`).

    Args:
        path: The file; None keeps the journal in memory, for devices that cost nothing.

    Raises:
        DataCorrupted: By every method, if the file is no journal or is damaged.
        BackendUnavailable: By every method, if the file cannot be read or written, or the disk is
            full.
    """

    path: Path | None
    _memory: sqlite3.Connection | None = field(default=None, init=False)
    _own: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        if self.path is None:
            self._memory = sqlite3.connect(":memory:", check_same_thread=False)
        elif self.path.is_dir():
            way_out = "this is a folder; name a file in it, such as jobs.sqlite"
            raise InvalidArgument.of("journal", str(self.path), way_out)
        with self._connect() as connection:
            columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
            connection.execute(f"CREATE TABLE IF NOT EXISTS jobs ({columns})")
            present = {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}
            if present != _COLUMNS.keys():
                raise DataCorrupted(
                    f"{self.path}: its table of jobs has other columns; move it away, or name "
                    "another journal"
                )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes and threads from sending.

        The system releases the lock when the process is killed.
        """
        if self.path is None:
            lock: Any = nullcontext()
        else:
            lock = FileLock(f"{self.path}.lock", timeout=_LOCK_SECONDS)
        try:
            with lock:
                yield
        except Timeout:
            raise BackendUnavailable(
                f"{self.path}: another process has held this journal for {_LOCK_SECONDS:g} s"
            ) from None

    def key(self, content: str) -> str:
        """Return the key of the next request for this content."""
        with _guard:
            return f"{content}:{self._counter[self._name, content]}"

    def count(self, content: str) -> None:
        """Note that this process was given a result for this content: the next one is another."""
        with _guard:
            self._counter[self._name, content] += 1

    def find(self, key: str) -> JournalEntry | None:
        """Return the row of a key, or None."""
        return next(iter(self._select("key = ?", key)), None)

    def get(self, name: str) -> JournalEntry:
        """Return the row of a tag or a job id.

        Raises:
            InvalidArgument: If there is none.
        """
        for entry in self._select("tag = ? OR job_id = ?", name, name):
            return entry
        way_out = f"{self.path} has no such job or tag; `hybridq jobs list` shows them"
        raise InvalidArgument.of("job", name, way_out)

    def entries(self) -> list[JournalEntry]:
        """Return all rows, oldest first."""
        return self._select("1 = 1")

    def intend(self, key: str, **values: Any) -> JournalEntry:
        """Write down that a job is about to be sent.

        Args:
            key: Content and occurrence.
            values: The columns from `device` to `estimated_seconds`.
        """
        row = {
            "tag": f"hybridq-{uuid.uuid4().hex}",
            "key": key,
            "state": "intended",
            "created": _now(),
        } | values
        marks = ", ".join("?" * len(row))
        with self._connect() as connection:
            statement = f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})"  # noqa: S608
            connection.execute(statement, list(row.values()))
        return self.get(row["tag"])

    def sent(self, tag: str, job_id: str) -> None:
        """Write down the id of the job that carries a tag."""
        self._update(tag, state="sent", job_id=job_id)

    def done(self, tag: str, result: Mapping[str, Any]) -> None:
        """Write down a result."""
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **result)
        self._update(tag, state="done", result=file.getvalue(), finished=_now())

    def used(self, tag: str, seconds: float) -> None:
        """Write down the QPU seconds that a job has used."""
        self._update(tag, used_seconds=seconds)

    def failed(self, tag: str, reason: str, state: str = "failed") -> None:
        """Write down that a job has no result; its content may then be sent again."""
        self._update(tag, state=state, key=None, reason=reason, finished=_now())

    def result(self, tag: str) -> Arrays:
        """Read a result.

        Raises:
            DataCorrupted: If it is damaged.
        """
        with self._connect() as connection:
            ((blob,),) = connection.execute(
                "SELECT result FROM jobs WHERE tag = ?", [tag]
            ).fetchall()
        try:
            with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # zipfile, zlib and NumPy each have errors of their own
            raise DataCorrupted(
                f"{self.path}: the result of {tag} is damaged ({error}). Restore the journal, or "
                "name another one; the job itself is still at IBM"
            ) from error

    def spent(self, tags: set[str] | None) -> float:
        """Add up the QPU seconds of the jobs that were or may have been sent.

        Jobs count as reported, otherwise as estimated.

        Args:
            tags: Of these jobs only; None means of all.
        """
        return sum(
            entry.estimated_seconds if entry.used_seconds is None else entry.used_seconds
            for entry in self.entries()
            if (tags is None or entry.tag in tags)
            and (entry.key is not None or entry.used_seconds is not None)
        )

    @property
    def _name(self) -> str:
        return "" if self.path is None else str(self.path.resolve())

    @property
    def _counter(self) -> Counter[tuple[str, str]]:
        return self._own if self.path is None else _delivered

    def _select(self, condition: str, *values: str) -> list[JournalEntry]:
        query = f"SELECT {', '.join(_NAMES)} FROM jobs WHERE {condition} ORDER BY rowid"  # noqa: S608
        with self._connect() as connection:
            return [JournalEntry(*row) for row in connection.execute(query, values)]

    def _update(self, tag: str, **values: Any) -> None:
        assignments = ", ".join(f"{name} = ?" for name in values)
        with self._connect() as connection:
            statement = f"UPDATE jobs SET {assignments} WHERE tag = ?"  # noqa: S608
            connection.execute(statement, [*values.values(), tag])

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Open a connection and a transaction.

        Each has a connection of its own, which threads and forked processes must not share.
        """
        try:
            if self._memory is not None:
                with self._memory:
                    yield self._memory
                return
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(str(self.path), timeout=60)) as connection, connection:
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except (sqlite3.OperationalError, OSError) as error:
            raise BackendUnavailable(
                f"{self.path}: the journal of jobs cannot be used ({error}). Make room or make it "
                "writable, or name another with journal=. A job that was sent is still at IBM: run "
                "again, and it is fetched, not sent again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataCorrupted(
                f"{self.path}: this is not a journal of jobs, or it is damaged ({error}). Restore "
                "it, or move it away and look for its jobs at "
                "https://quantum.cloud.ibm.com/workloads; their tags begin with 'hybridq-'"
            ) from error


def default_journal() -> Path:
    """Return the journal of a user.

    HYBRIDQ_JOURNAL names it; otherwise it is jobs.sqlite in the system's folder for data that
    should stay.
    """
    if named := os.environ.get("HYBRIDQ_JOURNAL"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
    return base / "hybridq" / "jobs.sqlite"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
