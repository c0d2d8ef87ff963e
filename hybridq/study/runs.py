"""The record of a run: a folder with its settings, machine, progress, result and weights."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hybridq.errors import CheckpointMismatch, DataCorrupted, DataNotFound, InvalidArgument
from hybridq.study.environment import environment, without_home
from hybridq.study.files import to_plain, write_whole

__all__ = ["Run", "RunLoader", "find_runs", "load_checkpoint", "save_checkpoint"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class RunLoader:
    """A function that loads the model and the data of a run, and that a run's record may name.

    Use it as a decorator. A record comes from whoever made the run, so what it names is called only
    if it was declared to be a loader in this way.

    Args:
        load: It is called with the folder of a run, and returns the model and the data.
    """

    load: Callable[[Path], tuple[Any, Any]]

    def __call__(self, path: Path) -> tuple[Any, Any]:
        """Load the model and the data of the run in a folder."""
        return self.load(path)


@dataclasses.dataclass(frozen=True)
class Run:
    """The record of one training run: a folder.

    It holds

    - `config.json`: the settings, and in `loader` the function that loads the run again,
    - `environment.json`: Python, machine, versions, threads, commit and command, but no
      environment variables and no private paths,
    - `metrics.jsonl`: one JSON object per line, appended and flushed as the run goes,
    - `result.json`: the result; missing while the run is unfinished,
    - `checkpoint.pt`: the weights, loadable with `weights_only=True`.

    Whole files are written aside and renamed, so that a crash leaves the old one or the new one.
    Numbers that JSON does not have are written as the strings "nan", "inf" and "-inf".

    Args:
        path: The folder. Use `Run.create` or `Run.load`.

    Example:
        >>> import tempfile
        >>> run = Run.create(tempfile.mkdtemp(), "adam-seed0", {"lr": 0.001})
        >>> run.log(epoch=1, test_accuracy=0.9)
        >>> run.finish({"test_accuracy": 0.9})
        >>> again = Run.load(run.path)
        >>> again.config, again.metrics(), again.result
        ({'lr': 0.001}, [{'epoch': 1, 'test_accuracy': 0.9}], {'test_accuracy': 0.9})
    """

    path: Path

    @classmethod
    def create(cls, root: str | Path, name: str, config: Any, loader: str | None = None) -> "Run":
        """Make the folder `root`/`name` and write down the settings and the environment.

        Args:
            root: The folder of all runs; made if it is missing.
            name: A plain name: letters, digits and ._+=-
            config: The settings, a mapping or a dataclass of JSON values.
            loader: The `RunLoader` that loads the model and the data of this run again,
                "package.module:function"; it is called with the run's folder. None for a run that
                nothing can load.

        Returns:
            The run.

        Raises:
            InvalidArgument: If the name is not plain, the folder exists already, `config` is no
                JSON or has another loader, or the loader is not written as such.
        """
        if not _NAME.fullmatch(name):
            reason = "give a plain folder name of letters, digits and ._+=-"
            raise InvalidArgument.of("name", name, reason)
        text = _document("config", config if loader is None else _with_loader(config, loader))
        path = Path(root) / name
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            reason = f"{without_home(str(path))} exists; choose another or delete it"
            raise InvalidArgument.of("name", name, reason) from error
        run = cls(path)
        described = environment() | {"started": _now()}
        write_whole(path / "environment.json", _document("environment", described))
        write_whole(path / "metrics.jsonl", "")
        write_whole(path / "config.json", text)
        return run

    @classmethod
    def load(cls, path: str | Path) -> "Run":
        """Open the record of an earlier run.

        Args:
            path: Its folder.

        Returns:
            The run.

        Raises:
            DataNotFound: If the folder or its config.json does not exist.
        """
        run = cls(Path(path))
        if not (run.path / "config.json").is_file():
            raise DataNotFound(
                f"{str(path)!r} is no run: it has no config.json. "
                "A run is a folder that Run.create made."
            )
        return run

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """The settings."""
        return _read(self.path / "config.json")

    @property
    def loader(self) -> str | None:
        """The function that loads this run, "package.module:function"; None if none is named."""
        named = self.config.get("loader")
        return named if isinstance(named, str) else None

    @property
    def environment(self) -> dict[str, Any]:
        """The machine and the software that made the run."""
        return _read(self.path / "environment.json")

    @property
    def result(self) -> dict[str, Any] | None:
        """The result; None if the run did not finish."""
        path = self.path / "result.json"
        return _read(path) if path.exists() else None

    @property
    def checkpoint(self) -> Path:
        """The file of the weights, which `save_checkpoint` writes."""
        return self.path / "checkpoint.pt"

    def log(self, **values: Any) -> None:
        """Append one line to metrics.jsonl, at once and in one piece."""
        line = json.dumps(to_plain(values), allow_nan=False, ensure_ascii=False) + "\n"
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def metrics(self) -> list[dict[str, Any]]:
        """Read all lines of metrics.jsonl.

        Returns:
            One dictionary per line.

        Raises:
            DataCorrupted: If a line is incomplete, as a power cut can leave the last one; the
                message says which.
        """
        path = self.path / "metrics.jsonl"
        *lines, rest = path.read_bytes().split(b"\n")
        if rest:
            raise DataCorrupted(
                f"{str(path)!r}, line {len(lines) + 1}: the last line is incomplete, "
                "the run was cut off while writing it. Delete that line to keep the rest."
            )
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise DataCorrupted(
                    f"{str(path)!r}, line {number}: no JSON object there ({error})."
                ) from error
        return rows

    def finish(self, result: Any) -> None:
        """Write what came out, a mapping or a dataclass of JSON values."""
        write_whole(self.path / "result.json", _document("result", result))

    def save_checkpoint(self, model: nn.Module) -> None:
        """Write the weights of `model` to checkpoint.pt."""
        save_checkpoint(model, self.checkpoint)


def find_runs(root: str | Path) -> list[Run]:
    """List the runs below a folder, at any depth, by name.

    Args:
        root: The folder.

    Returns:
        The runs, finished or not.

    Raises:
        DataNotFound: If the folder does not exist.
    """
    if not Path(root).is_dir():
        raise DataNotFound(f"{str(root)!r} is no folder, so it has no runs.")
    return [
        Run(path.parent)
        for path in sorted(Path(root).rglob("config.json"))
        if (path.parent / "metrics.jsonl").is_file()
    ]


def save_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Write the state dict of `model`, on the CPU.

    The file is written in one piece: a crash leaves the old file or the new one.

    Args:
        model: Any module.
        path: The file.
    """
    aside = Path(path).with_suffix(".tmp")
    torch.save({name: _to_cpu(value) for name, value in model.state_dict().items()}, aside)
    aside.replace(path)


def load_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Load weights that `save_checkpoint` wrote.

    All of them must fit; if they do not, the model stays as it is.

    Args:
        model: The module to load them into.
        path: The file.

    Raises:
        DataNotFound: If there is no such file.
        DataCorrupted: If the file is no checkpoint, or holds anything but plain data.
        CheckpointMismatch: If shapes differ, or names are missing or unexpected; the message names
            them.
    """
    if not Path(path).is_file():
        raise DataNotFound(f"there is no checkpoint {str(path)!r}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler and its archive reader meet
        reason = str(error).partition("\n")[0]
        raise DataCorrupted(f"{str(path)!r} is no checkpoint of weights: {reason}") from error
    if not isinstance(state, dict):
        raise DataCorrupted(
            f"{str(path)!r} holds a {type(state).__name__}, not the state of a model."
        )
    problems = _mismatches(model.state_dict(), state)
    if problems:
        raise CheckpointMismatch(
            f"{str(path)!r} does not fit this {type(model).__name__}: {'; '.join(problems)}. "
            "Build the model with the settings in the run's config.json."
        )
    model.load_state_dict(state)


def _mismatches(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    shapes = [
        f"{name} is {_shape(theirs[name])} in the file and {_shape(ours[name])} in the model"
        for name in ours
        if name in theirs and _shape(ours[name]) != _shape(theirs[name])
    ]
    missing = [name for name in ours if name not in theirs]
    unexpected = [name for name in theirs if name not in ours]
    problems = shapes[:_SHOWN] + (
        [f"and {len(shapes) - _SHOWN} more shapes"] if len(shapes) > _SHOWN else []
    )
    for kind, names in (("missing in the file", missing), ("not in the model", unexpected)):
        if names:
            rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            problems.append(f"{kind}: {', '.join(names[:_SHOWN])}{rest}")
    return problems


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _to_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _with_loader(config: Any, loader: str) -> Any:
    """Add the loader to the settings."""
    module, colon, function = loader.partition(":")
    if not (module and colon and function):
        raise InvalidArgument.of("loader", loader, "write package.module:function")
    plain = to_plain(config)
    if not isinstance(plain, dict):
        return config  # which is refused as such
    named = plain.get("loader", loader)
    if named != loader:
        reason = f"config names the loader {named!r}; name one of them"
        raise InvalidArgument.of("loader", loader, reason)
    return plain | {"loader": loader}


def _document(argument: str, value: Any) -> str:
    plain = to_plain(value)
    if not isinstance(plain, dict):
        raise InvalidArgument.of(argument, value, "give a mapping or a dataclass")
    try:
        return json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    except TypeError as error:
        raise InvalidArgument.of(argument, value, f"{error}; give JSON values") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise DataNotFound(
            f"{str(path)!r} does not exist, so the record of this run is not complete."
        ) from error
    except (ValueError, TypeError) as error:
        raise DataCorrupted(f"{str(path)!r} holds no JSON object: {error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
