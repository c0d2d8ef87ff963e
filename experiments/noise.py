"""What noise does to a trained quantum-attention classifier: `python -m experiments.noise RUN [RUN ...]`.

    python -m experiments.text_classification --data sst2 --attention quantum --seeds 3 --output
    runs/sst2 python -m experiments.noise runs/sst2/quantum-adam-seed*

The runs are trained without noise, and evaluated with depolarising noise or damping after every
gate, with bits that are read wrongly, and with shots (`hybridq.backends.aer` says what the levels
are). The control that decides what an accuracy means is the same model with the weight on Phi set
to 0. Phi is compared up to its constant, which softmax cancels.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from torch import Tensor

from experiments._command import run
from experiments._noise_figures import harmonics_figure, levels_figure
from experiments._readout_mitigation import ReadoutMitigated
from experiments.classifier import TextClassifier
from experiments.evaluate import load_run
from hybridq.backends import AbstractBackend, BackendSpec, resolve
from hybridq.errors import InvalidArgument, require
from hybridq.layers import QuantumAttention, to_backend
from hybridq.layers.evaluation import evaluate_circuits
from hybridq.seeding import derive
from hybridq.study._environment import environment
from hybridq.study.data import Split
from hybridq.study.runs import Run
from hybridq.study.statistics import summarize

LEVELS = {
    "depolarizing": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "damping": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "readout_error": (0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4),
}
SHOTS = (16, 64, 256, 1024, 4096, 16384)
SHOWN = (None, 4096, 256)  # shots at every level; None is exact
READ_WRONGLY = 0.1  # beside none, where the shots vary


@dataclass(frozen=True)
class Setting:
    """A noise and how it is looked at.

    Args:
        noise: The option of the backend: "depolarizing", "damping" or "readout_error".
        level: Its value.
        shots: Shots per circuit; None means exact.
        mitigated: Whether readout errors are measured and undone.
    """

    noise: str
    level: float
    shots: int | None
    mitigated: bool = False

    def backend(self, seed: int) -> AbstractBackend:
        """Make the backend; the seed is that of the shots."""
        spec = BackendSpec.parse(f"aer:{self.noise}={self.level},seed={seed}")
        inner = resolve(spec.with_shots(self.shots))
        return ReadoutMitigated(inner) if self.mitigated else inner


@dataclass(frozen=True)
class Seen:
    """A trained model under one noise, with one seed of the shots.

    Args:
        accuracy: On the test sentences.
        reclassed: The part of the sentences that get another class than without noise.
        logit_error: The rms deviation of the logits, in units of their standard deviation without
            noise.
        phi_error: The rms deviation of Phi over a period, in units of the rms without noise;
            constants left out.
        phi_scale: What is left of Phi: the factor b with the least rms of Phi - b Phi without
            noise.
        harmonics: The same for each harmonic 1..D: its amplitude, in units of that without noise.
    """

    accuracy: float
    reclassed: float
    logit_error: float
    phi_error: float
    phi_scale: float
    harmonics: tuple[float, ...]


@dataclass(frozen=True)
class Exact:
    """The trained model without noise: logits (sentences, classes), and harmonics (layers, 2, D)."""

    logits: Tensor
    harmonics: Tensor


def settings(smoke: bool) -> list[Setting]:
    """Everything that is looked at, each once."""
    found = [
        Setting(noise, level, shots, mitigated)
        for noise, levels in LEVELS.items()
        for level in levels
        for shots in SHOWN
        for mitigated in ((False, True) if noise == "readout_error" else (False,))
    ]
    found += [
        Setting("readout_error", level, shots) for level in (0.0, READ_WRONGLY) for shots in SHOTS
    ]
    found += [Setting("readout_error", READ_WRONGLY, shots, True) for shots in SHOTS]
    found = list(dict.fromkeys(found))
    return [setting for setting in found if setting.level in (0.0, 0.1)] if smoke else found


@torch.no_grad()
def look(model: TextClassifier, split: Split) -> tuple[Tensor, Tensor]:
    """The logits of all sentences, and the harmonics of all layers' gate * Phi, shape (layers, 2, D)."""
    model.eval()
    logits = torch.cat([model(ids) for ids in torch.split(split.ids, 256)]).double()
    layers = [module for module in model.modules() if isinstance(module, QuantumAttention)]
    series = [
        coefficients[0] for coefficients in evaluate_circuits(layers)
    ]  # kept from above; its heads share their angles
    return logits, torch.stack([own[1:].reshape(2, -1) for own in series]).double()


def see(model: TextClassifier, split: Split, exact: Exact, backend: AbstractBackend) -> Seen:
    """Evaluate a model on a backend. By Parseval, mean squares over a period are those of the harmonics."""
    logits, harmonics = look(to_backend(model, backend), split)  # type: ignore[arg-type]
    before = exact.harmonics
    scale = (harmonics * before).sum() / before.square().sum()
    amplitudes = harmonics.square().sum((0, 1)).sqrt() / before.square().sum((0, 1)).sqrt()
    return Seen(
        **_classified(logits, split, exact),
        phi_error=float((harmonics - before).norm() / before.norm()),
        phi_scale=float(scale),
        harmonics=tuple(amplitudes.tolist()),
    )


def without_circuits(model: TextClassifier, split: Split, exact: Exact) -> dict[str, float]:
    """The control: the same model with the weight on Phi set to 0, for as long as this takes."""
    layers = [module for module in model.modules() if isinstance(module, QuantumAttention)]
    gates = [layer.gate.detach().clone() for layer in layers]
    for layer in layers:
        layer.gate.data.zero_()
    logits, _ = look(model, split)
    for layer, gate in zip(layers, gates, strict=True):
        layer.gate.data.copy_(gate)
    return _classified(logits, split, exact)


def _classified(logits: Tensor, split: Split, exact: Exact) -> dict[str, float]:
    return {
        "accuracy": _accuracy(logits, split.labels),
        "reclassed": 1 - _accuracy(logits, exact.logits.argmax(1)),
        "logit_error": float(
            (logits - exact.logits).norm() / (exact.logits - exact.logits.mean(0)).norm()
        ),
    }


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def study(
    path: Path, folder: Path, asked: list[Setting], draws: int, size: int | None
) -> dict[str, Any]:
    """Evaluate one trained run under every noise; a record of it is made in `folder`."""
    model, data = load_run(path)
    split = Split(data.test.ids[:size], data.test.labels[:size])
    record = Run.create(
        folder,
        Run.load(path).name,
        {"run": Run.load(path).config, "draws": draws, "sentences": len(split)},
    )
    exact = Exact(*look(to_backend(model, "statevector"), split))  # type: ignore[arg-type]
    control = without_circuits(model, split, exact)
    rows: list[dict[str, Any]] = []
    for setting in track(asked, record.name, console=Console(stderr=True), transient=True):
        for draw in range(draws if setting.shots else 1):
            seed = derive(
                draw, "noise", record.name, *map(str, asdict(setting).values())
            )  # no two share their shots
            seen = see(model, split, exact, setting.backend(seed))
            rows.append(asdict(setting) | {"draw": draw} | asdict(seen))
            record.log(**rows[-1])
    result = {
        "accuracy": _accuracy(exact.logits, split.labels),
        "without_circuits": control,
        "harmonics": exact.harmonics.norm(dim=(0, 1)).tolist(),
    }
    record.finish(result)
    return result | {"run": record.name, "rows": rows}


def summary(
    studies: list[dict[str, Any]], asked: list[Setting], config: dict[str, Any]
) -> dict[str, Any]:
    """What was asked, on what machine, and for each noise a number of each run: the mean of its draws."""
    table = [asdict(setting) | _means(setting, studies) for setting in asked]
    runs = [{key: value for key, value in found.items() if key != "rows"} for found in studies]
    return {"environment": environment(), **config, "runs": runs, "settings": table}


def _means(setting: Setting, studies: list[dict[str, Any]]) -> dict[str, list[Any]]:
    means: dict[str, list[Any]] = {measure.name: [] for measure in fields(Seen)}
    for found in studies:
        rows = [
            row
            for row in found["rows"]
            if all(row[key] == value for key, value in asdict(setting).items())
        ]
        for key, values in means.items():
            mean = torch.tensor([row[key] for row in rows], dtype=torch.float64).mean(0)
            values.append(mean.tolist())
    return means


def lines(found: dict[str, Any]) -> Iterator[str]:
    """A table for the terminal: a row for each noise, the mean over runs and draws."""

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    before = [one["accuracy"] for one in found["runs"]]
    control = {
        key: [one["without_circuits"][key] for one in found["runs"]]
        for key in ("accuracy", "reclassed", "logit_error")
    }
    yield f"without noise     {summarize(before).text(2, percent=True)}"
    yield f"without circuits  {summarize(control['accuracy']).text(2, percent=True)}"
    names = ("accuracy", "change", "reclassed", "of logits", "of Phi")
    yield f"{'noise':14} {'level':>7} {'shots':>7} {'':9} " + " ".join(
        f"{name:>9}" for name in names
    )
    rows = [
        {
            "noise": "no circuits",
            "level": 1,
            "shots": None,
            "mitigated": False,
            "phi_error": [1.0],
            **control,
        }
    ]
    for row in rows + found["settings"]:
        numbers = (
            mean(row["accuracy"]),
            mean(row["reclassed"]),
            mean(row["logit_error"]),
            mean(row["phi_error"]),
        )
        shown = [
            f"{numbers[0]:9.2%}",
            f"{100 * (numbers[0] - mean(before)):+9.2f}",
            *(f"{n:9.2%}" for n in numbers[1:]),
        ]
        way = "mitigated" if row["mitigated"] else ""
        yield f"{row['noise']:14} {row['level']:7g} {row['shots'] or 'exact':>7} {way:9} {' '.join(shown)}"


def main(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(help="folders of runs of experiments.text_classification, quantum"),
    ],
    draws: Annotated[int, typer.Option(min=1, help="seeds of the shots for each setting")] = 3,
    output: Annotated[
        Path | None,
        typer.Option(help="a new folder for records and figures; below runs/ by default"),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="some seconds: one draw, few settings and sentences")
    ] = False,
) -> None:
    """Evaluate trained runs under noise and shots, with and without readout mitigation; draw figures, write summary.json."""
    require("matplotlib", "experiments"), require("qiskit_aer", "ibm")
    folder = output or Path("runs") / f"noise-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        raise InvalidArgument.of(
            "output", str(folder), "it exists; name a new folder, or delete it"
        )
    torch.set_num_threads(1)
    asked, size = settings(smoke), 64 if smoke else None
    draws = 1 if smoke else draws
    studies = [study(path, folder, asked, draws, size) for path in checkpoints]
    data = Run.load(checkpoints[0]).config["data"]
    found = summary(studies, asked, {"data": data, "draws": draws})
    (folder / "summary.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    for name, figure in (("noise", levels_figure), ("harmonics", harmonics_figure)):
        figure(found).savefig(folder / f"{name}.png", dpi=130, metadata={"Software": None})
    print("\n".join(lines(found)))
    print(f"The figures: {folder}")


if __name__ == "__main__":
    run(main)
