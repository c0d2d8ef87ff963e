"""The journal: every row is there after a crash, and a damaged file is an error."""

import resource
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridq.backends._ibm.journal import Journal, default_journal
from hybridq.errors import BackendUnavailable, DataCorrupted, InvalidArgument

COLUMNS: dict[str, Any] = {
    "device": "ibm_x",
    "instance": None,
    "channel": None,
    "circuit_hash": "c",
    "parameters_hash": "p",
    "circuits": 3,
    "shots": 10,
    "options": "{}",
    "estimated_seconds": 2.5,
}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "new" / "jobs.sqlite")


def test_a_job_from_its_intent_to_its_result(journal: Journal) -> None:
    key = journal.key("content")
    assert journal.find(key) is None
    entry = journal.intend(key, **COLUMNS)
    assert (entry.state, entry.job_id, entry.shots) == ("intended", None, 10)
    assert journal.spent(None) == 2.5, "a job that may have been sent counts"
    journal.sent(entry.tag, "j1")
    arrays = {
        "counts": np.arange(6, dtype=np.uint32).reshape(2, 3),
        "errors": np.array([0.5, np.inf]),
    }
    journal.done(entry.tag, arrays)
    journal.used(entry.tag, 1.25)
    again = Journal(journal.path)  # as another process sees it
    found = again.get("j1")
    assert (found.state, found.tag, found.used_seconds) == ("done", entry.tag, 1.25)
    assert again.spent(None) == again.spent({entry.tag}) == 1.25
    assert again.spent(set()) == 0
    for name, array in again.result(entry.tag).items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype


def test_a_content_is_counted_by_the_process_and_not_by_the_object(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = journal.key("content")
    assert journal.key("content") == first, (
        "it is counted when a result was given, not when it was asked for"
    )
    journal.count("content")
    assert Journal(journal.path).key("content") != first
    assert journal.key("other") == "other:0"
    monkeypatch.setattr(
        "hybridq.backends._ibm.journal._delivered", Counter()
    )  # as in a new process
    assert journal.key("content") == first


def test_a_failed_job_frees_its_content_and_keeps_its_cost(journal: Journal) -> None:
    entry = journal.intend("k:0", **COLUMNS)
    journal.failed(entry.tag, "broken")
    assert journal.find("k:0") is None
    assert journal.spent(None) == 0
    journal.used(entry.tag, 0.5)
    assert journal.spent(None) == 0.5
    assert journal.intend("k:0", **COLUMNS).tag != entry.tag
    assert [e.state for e in journal.entries()] == ["failed", "intended"]


def test_one_key_is_one_row(journal: Journal) -> None:
    journal.intend("k:0", **COLUMNS)
    with pytest.raises(DataCorrupted, match="UNIQUE"):
        journal.intend("k:0", **COLUMNS)
    assert len(journal.entries()) == 1


def test_a_journal_in_memory_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal(None)
    with journal.lock():
        journal.intend("k:0", **COLUMNS)
    assert len(journal.entries()) == 1
    assert not list(tmp_path.iterdir())
    assert not Journal(None).entries()


def test_an_unknown_job_is_named(journal: Journal) -> None:
    with pytest.raises(InvalidArgument, match=r"job='j9'.*no such job"):
        journal.get("j9")


@pytest.mark.parametrize(
    "content",
    [b"not a database, but long enough to be one" * 40, b"SQLite format 3\x00" + bytes(2000)],
)
def test_a_file_that_is_no_journal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(content)
    with pytest.raises(DataCorrupted, match=r"jobs\.sqlite: this is not a journal"):
        Journal(path)
    assert path.read_bytes() == content, "nothing is overwritten"


def test_damage_in_the_middle_of_the_file(journal: Journal) -> None:
    for number in range(40):
        journal.done(
            journal.intend(f"k:{number}", **COLUMNS).tag,
            {"counts": np.random.default_rng(number).random(200)},
        )
    assert journal.path is not None
    content = bytearray(journal.path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)  # the first page stays
    journal.path.write_bytes(content)
    with pytest.raises(DataCorrupted, match="damaged"):
        journal.entries()


def test_a_damaged_result(journal: Journal) -> None:
    entry = journal.intend("k:0", **COLUMNS)
    journal.done(entry.tag, {"counts": np.ones(3)})
    with sqlite3.connect(str(journal.path)) as connection:
        connection.execute("UPDATE jobs SET result = substr(result, 1, 50)")
    connection.close()
    with pytest.raises(DataCorrupted, match=f"the result of {entry.tag} is damaged"):
        journal.result(entry.tag)


def test_another_projects_table(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.execute("CREATE TABLE jobs (name TEXT)")
    connection.close()
    with pytest.raises(DataCorrupted, match="other columns"):
        Journal(tmp_path / "jobs.sqlite")


def test_a_folder_and_a_place_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="this is a folder"):
        Journal(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendUnavailable, match="cannot be used"):
        Journal(tmp_path / "file" / "jobs.sqlite")


def test_a_full_disk_loses_nothing(journal: Journal) -> None:
    """The system itself refuses to let the file grow."""
    entry = journal.intend("k:0", **COLUMNS)
    journal.sent(entry.tag, "j1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(BackendUnavailable, match=r"cannot be used.*is fetched, not sent again"):
            journal.done(entry.tag, {"counts": np.random.default_rng(0).random(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (found,) = Journal(journal.path).entries()
    assert (found.state, found.job_id) == ("sent", "j1")
    journal.done(entry.tag, {"counts": np.ones(20_000)})
    assert journal.result(entry.tag)["counts"].sum() == 20_000


def test_the_lock_is_held_against_others_and_released_by_a_kill(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    input()"
    )
    command = [sys.executable, "-c", code, f"{journal.path}.lock"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        monkeypatch.setattr("hybridq.backends._ibm.journal._LOCK_SECONDS", 0.1)
        with pytest.raises(BackendUnavailable, match="another process"), journal.lock():
            pytest.fail("two have it")
        other.kill()
    with journal.lock():
        assert other.returncode == -9


def test_where_the_journal_of_a_user_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("HYBRIDQ_JOURNAL", raising=False)
    assert default_journal() == Path("/state/hybridq/jobs.sqlite")
    monkeypatch.setenv("HYBRIDQ_JOURNAL", "/elsewhere/jobs.sqlite")
    assert default_journal() == Path("/elsewhere/jobs.sqlite")
