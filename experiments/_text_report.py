"""The page of the text classification experiment, made from its runs alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments._step_times import read_step_times
from experiments.optimizers import OPTIMIZERS
from hybridq.study.runs import Run, find_runs
from hybridq.study.sections import (
    ClaimRow,
    ClaimTable,
    Column,
    DifferenceRow,
    DifferenceTable,
    Curve,
    CurvePlot,
    Highlight,
    Interval,
    IntervalPlot,
    Notes,
    Report,
    Section,
    Table,
    ClaimVerdict,
    what_was_run,
)
from hybridq.study.statistics import GroupDifference, summarize, welch

__all__ = ["text_report"]

MARGIN = (
    0.02  # of test accuracy; chosen after the first run on SST-2 had been seen, for all that follow
)
KINDS = {"quantum": "quantum attention", "plain": "plain attention"}


@dataclass(frozen=True)
class Arm:
    """The runs of one attention with one optimizer, a run for each seed."""

    attention: str
    optimizer: str
    runs: tuple[Run, ...]
    step_milliseconds: float

    @property
    def label(self) -> str:
        """The optimizer's name."""
        return OPTIMIZERS[self.optimizer].label

    @property
    def title(self) -> str:
        """Optimizer and attention."""
        return f"{self.label}, {KINDS[self.attention]}"

    def values(self, pick: Callable[[dict[str, Any]], float | None]) -> list[float | None]:
        """One number of each run's result."""
        return [pick(run.result or {}) for run in self.runs]

    @property
    def accuracy(self) -> list[float | None]:
        """Test accuracy after the last step."""
        return self.values(lambda result: result["test_accuracy"])

    @property
    def epochs(self) -> list[float | None]:
        """Epochs until the level."""
        return self.values(lambda result: result["crossings"][0]["epochs"])

    def curve(self, kind: str, value: str) -> Curve:
        """One line of a plot, with a row for each seed."""
        rows = [[line for line in run.metrics() if line["kind"] == kind] for run in self.runs]
        positions = tuple(float(line["epoch"]) for line in rows[0])
        return Curve(
            self.label,
            positions,
            tuple(tuple(line[value] for line in row) for row in rows),
            KINDS[self.attention],
        )


def text_report(folder: Path) -> Report:
    """Read all runs below a folder and build the page.

    Args:
        folder: Where `experiments.text_classification` put them.

    Returns:
        The page.
    """
    runs = find_runs(folder)
    keys = sorted({(run.config["attention"], run.config["optimizer"]) for run in runs}, key=_order)
    steps = read_step_times(folder)
    arms = {
        key: Arm(*key, tuple(run for run in runs if _key(run) == key), 1e3 * steps[key])
        for key in keys
    }
    config, level = runs[0].config, runs[0].config["level"]
    seeds = sorted({run.config["seed"] for run in runs})
    sections: list[Section] = [
        *_plots(list(arms.values()), level),
        ClaimTable(
            "The paper's claims", tuple(_claims(arms, config)), _claims_caption(config["data"])
        ),
        _results(list(arms.values()), level),
        DifferenceTable(
            "Comparisons",
            tuple(_comparisons(arms)),
            "Welch's t-test over seeds; differences of final test accuracy.",
        ),
        _notes(level),
        what_was_run(
            runs[0].environment, {"data": _data(runs[0]), "seeds": ", ".join(map(str, seeds))}
        ),
    ]
    title = "Quantum attention on sentences, optimizer by optimizer"
    return Report(
        title, _lead(arms), tuple(sections), tuple(_highlights(arms, level)), "SPGD, Table II"
    )


def _key(run: Run) -> tuple[str, str]:
    return run.config["attention"], run.config["optimizer"]


def _order(key: tuple[str, str]) -> tuple[int, int]:
    return list(KINDS).index(key[0]), list(OPTIMIZERS).index(key[1])


def _data(run: Run) -> str:
    provenance = run.config["data_provenance"]
    size = run.config["train_size"]
    return f"{run.config['data']}{f', {size:,} training sentences' if size else ''}; {provenance.get('chosen', '')}".rstrip(
        "; "
    )


def _plots(arms: list[Arm], level: float) -> list[Section]:
    accuracy = CurvePlot(
        "Test accuracy",
        tuple(arm.curve("evaluation", "test_accuracy") for arm in arms),
        y_label="test accuracy",
        percent=True,
        level=(level, f"{level:.0%}"),
        caption="Mean over seeds; the band is one standard deviation. Every optimizer starts from the same weights and "
        "sees the same batches and dropout.",
    )
    loss = CurvePlot(
        "Training loss",
        tuple(arm.curve("epoch", "train_loss") for arm in arms),
        y_label="cross-entropy (nats)",
        caption="Mean over the steps of an epoch, with dropout.",
    )
    reached = IntervalPlot(
        f"Epochs to {level:.0%} test accuracy",
        tuple(Interval(arm.label, tuple(arm.epochs), KINDS[arm.attention]) for arm in arms),
        x_label="epochs, interpolated between evaluations",
        caption="Mean and 95 % interval; a dot is a seed. Fewer is faster.",
    )
    return [accuracy, reached, loss]


def _results(arms: list[Arm], level: float) -> Table:
    columns = (
        Column("attention"),
        Column("optimizer"),
        Column("final test accuracy", 1, percent=True),
        Column(f"epochs to {level:.0%}"),
        Column("CPU ms per step", 1),
    )
    rows = tuple(
        (
            KINDS[arm.attention],
            arm.label,
            summarize(arm.accuracy),
            summarize(arm.epochs),
            arm.step_milliseconds,
        )
        for arm in arms
    )
    return Table(
        "Results",
        columns,
        rows,
        "Mean ± standard deviation [95 % interval] over seeds, after the last step.",
    )


def _claims_caption(data: str) -> str:
    if data == "synthetic":
        return "The paper does not publish its synthetic sentences; these are ours, of the same size and kind."
    return "The paper's numbers are from its synthetic task; these are real sentences, so levels differ and differences count."


def _claims(arms: dict[tuple[str, str], Arm], config: dict[str, Any]) -> list[ClaimRow]:
    attention = "quantum" if ("quantum", "spgd-literal-0.5") in arms else "plain"
    wanted = [(attention, name) for name in ("adam", "adam-uncorrected", "spgd-literal-0.5")]
    rows = []
    if all(key in arms for key in wanted):
        adam, control, spgd = (arms[key] for key in wanted)
        rows = [
            _speed(adam, control, spgd, config["level"]),
            _final(adam, control, spgd),
            _cost(adam, spgd),
        ]
    if ("quantum", "adam") in arms:
        rows.append(_attention(arms["plain", "adam"], arms["quantum", "adam"]))
    return rows


def _speed(adam: Arm, control: Arm, spgd: Arm, level: float) -> ClaimRow:
    against_adam, against_control = (
        welch(spgd.epochs, adam.epochs),
        welch(spgd.epochs, control.epochs),
    )
    ours = f"{_relative(spgd, adam)} against Adam; the control alone: {_relative(control, adam)}"
    if against_adam.p is None or against_control.p is None:
        verdict, reason = _untestable(against_adam, against_control)
    else:
        verdict = _verdict(against_adam, against_control, lower_is_better=True)
        reason = f"Welch's p is {against_adam.p:.2g} against Adam and {against_control.p:.2g} against the control."
    return ClaimRow(
        f"SPGD (λ 0.5) reaches {level:.0%} after fewer epochs than Adam (the paper: 90 %)",
        "4.6 instead of 7.4 epochs (-37.8 %)",
        ours,
        verdict,
        "Adam without bias correction, λ = 0",
        reason,
    )


def _final(adam: Arm, control: Arm, spgd: Arm) -> ClaimRow:
    against_adam, against_control = (
        welch(spgd.accuracy, adam.accuracy),
        welch(spgd.accuracy, control.accuracy),
    )
    if against_adam.p is None or against_control.p is None:
        verdict, reason = _untestable(against_adam, against_control)
    else:
        verdict = _verdict(against_adam, against_control, lower_is_better=False)
        reason = f"Welch's p is {against_adam.p:.2g} against Adam and {against_control.p:.2g} against the control."
    return ClaimRow(
        "SPGD (λ 0.5) ends higher than Adam",
        "93.8 ± 0.7 %, +2.3 points",
        summarize(spgd.accuracy),
        verdict,
        f"Adam {summarize(adam.accuracy).text(1, percent=True)}; without bias correction "
        f"{summarize(control.accuracy).text(1, percent=True)}",
        reason,
        digits=1,
        percent=True,
    )


def _cost(adam: Arm, spgd: Arm) -> ClaimRow:
    times = [arm.step_milliseconds for arm in (adam, spgd)]
    return ClaimRow(
        "An epoch of SPGD takes 35 % longer",
        "+35 %",
        f"{times[1] / times[0] - 1:+.1%} per training step",
        "reproduced" if 0.25 < times[1] / times[0] - 1 < 0.45 else "not reproduced",
        "measured step times of the same model",
        "CPU time, medians, measured in turn; the sine of a few numbers costs next to nothing.",
    )


def _attention(plain: Arm, quantum: Arm) -> ClaimRow:
    test = welch(quantum.accuracy, plain.accuracy)
    interval = (
        "no interval from one seed"
        if test.interval is None
        else "95 % [{:+.1%}, {:+.1%}]".format(*test.interval)
    )
    low, high = test.interval or (-1.0, 1.0)
    verdict: ClaimVerdict = (
        "reproduced" if low > -MARGIN else "not reproduced" if high < 0 else "not testable"
    )
    return ClaimRow(
        "Quantum attention learns as well as plain attention or better (Adam)",
        "claimed without a number",
        f"{test.difference or 0:+.1%} final test accuracy, {interval}",
        verdict,
        "plain attention, same seeds and weights",
        f"As well or better: the interval lies above -{100 * MARGIN:g} points of accuracy.",
    )


def _verdict(
    against_adam: GroupDifference, against_control: GroupDifference, *, lower_is_better: bool
) -> ClaimVerdict:
    """Reproduced only if the difference is there against Adam and against the control, in the claimed direction."""
    sign = -1 if lower_is_better else 1
    holds = all(
        test.is_significant and sign * (test.difference or 0.0) > 0
        for test in (against_adam, against_control)
    )
    return "reproduced" if holds else "not reproduced"


def _untestable(*tests: GroupDifference) -> tuple[ClaimVerdict, str]:
    """Why there is no p-value: the first note that says so."""
    return "not testable", next(test.note for test in tests if test.p is None)


def _relative(arm: Arm, reference: Arm) -> str:
    ours, theirs = summarize(arm.epochs).mean, summarize(reference.epochs).mean
    return (
        "level not reached"
        if ours is None or theirs is None
        else f"{ours / theirs - 1:+.1%} epochs"
    )


def _comparisons(arms: dict[tuple[str, str], Arm]) -> list[DifferenceRow]:
    rows = []
    for (attention, optimizer), arm in arms.items():
        if attention == "quantum" and ("plain", optimizer) in arms:
            test = welch(arm.accuracy, arms["plain", optimizer].accuracy)
            rows.append(
                DifferenceRow(f"{arm.label}: quantum minus plain attention", test, 1, percent=True)
            )
    for (attention, optimizer), arm in arms.items():
        if optimizer != "adam" and (attention, "adam") in arms:
            test = welch(arm.accuracy, arms[attention, "adam"].accuracy)
            rows.append(
                DifferenceRow(f"{KINDS[attention]}: {arm.label} minus Adam", test, 1, percent=True)
            )
    return rows


def _lead(arms: dict[tuple[str, str], Arm]) -> str:
    if ("quantum", "adam") not in arms:
        return "A two-layer transformer with plain attention, several optimizers."
    quantum, plain = arms["quantum", "adam"], arms["plain", "adam"]
    return (
        "A two-layer transformer whose attention scores pass through a 4-qubit circuit, in its exact Fourier form: 17 "
        f"circuits per layer and step. With Adam it ends at {summarize(quantum.accuracy).text(1, percent=True)} test "
        f"accuracy, plain attention at {summarize(plain.accuracy).text(1, percent=True)}."
    )


def _highlights(arms: dict[tuple[str, str], Arm], level: float) -> list[Highlight]:
    found = []
    for key in (("quantum", "adam"), ("plain", "adam")):
        if key in arms:
            mean = summarize(arms[key].accuracy).mean or 0.0
            found.append(
                Highlight(
                    f"{mean:.1%}",
                    f"{KINDS[key[0]]}, Adam",
                    f"test accuracy, seeds: {len(arms[key].runs)}",
                )
            )
    if all(key in arms for key in (("quantum", "adam"), ("plain", "adam"))):
        steps = [arms[kind, "adam"].step_milliseconds for kind in ("quantum", "plain")]
        found.append(
            Highlight(
                f"{steps[0] / steps[1]:.2f}x",
                "time of a training step",
                "quantum against plain attention",
            )
        )
    return found


def _notes(level: float) -> Notes:
    return Notes(
        "How to read this",
        (
            "The model is the paper's Table II: 2 layers, size 64, 4 heads, feed-forward 128, dropout 0.1, batch 32, "
            "learning rate 0.001; 4 qubits, depth 2. As printed, the paper's circuit does not contain the score and softmax "
            "cancels it; here the score enters every RY (SPEC A3).",
            f"Speed is the fractional epoch at which test accuracy first is {level:.0%}, interpolated between four "
            "evaluations an epoch. Adam without bias correction is the control: a method that is not faster than it owes "
            "its speed to the missing correction.",
            "`SPGD as printed` perturbs the first 4 numbers of the whole model, without bias correction; `SPGD` perturbs "
            "the first 4 numbers of every tensor, scaled as Adam's step is.",
            "With few seeds an interval is wide: no difference found is not a proof of none.",
        ),
    )
