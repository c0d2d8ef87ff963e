"""The page of the experiment, made from its runs alone."""

from pathlib import Path

from experiments.text_classification.arms import Arm, Arms, attention_name, read_arms
from experiments.text_classification.claims import claim_table
from hybridq.study.runs import Run, find_runs
from hybridq.study.sections import (
    Column,
    CurvePlot,
    DifferenceRow,
    DifferenceTable,
    Highlight,
    Interval,
    IntervalPlot,
    Notes,
    Report,
    Section,
    Table,
    what_was_run,
)
from hybridq.study.statistics import summarize, welch

__all__ = ["text_report"]


def text_report(folder: Path) -> Report:
    """Read all runs below a folder and build the page.

    Args:
        folder: The folder that `experiments.text_classification` wrote.

    Returns:
        The page.
    """
    arms = read_arms(folder)
    runs = find_runs(folder)
    config = runs[0].config
    level = config["level"]
    seeds = sorted({run.config["seed"] for run in runs})
    facts = {"data": _data(runs[0]), "seeds": ", ".join(map(str, seeds))}
    sections: list[Section] = [
        *_plots(list(arms.values()), level),
        claim_table(arms, config),
        _results(list(arms.values()), level),
        DifferenceTable(
            "Comparisons",
            tuple(_comparisons(arms)),
            "Welch's t-test over seeds; differences of final test accuracy.",
        ),
        _notes(level),
        what_was_run(runs[0].environment, facts),
    ]
    return Report(
        "Quantum attention on sentences, optimizer by optimizer",
        _lead(arms),
        tuple(sections),
        tuple(_highlights(arms)),
        "SPGD, Table II",
    )


def _data(run: Run) -> str:
    """Say which data set, how much of it, and why it was chosen."""
    size = run.config["train_size"]
    sentences = f", {size:,} training sentences" if size else ""
    chosen = run.config["data_provenance"].get("chosen", "")
    return f"{run.config['data']}{sentences}; {chosen}".rstrip("; ")


def _plots(arms: list[Arm], level: float) -> list[Section]:
    accuracy = CurvePlot(
        "Test accuracy",
        tuple(arm.curve("evaluation", "test_accuracy") for arm in arms),
        y_label="test accuracy",
        percent=True,
        level=(level, f"{level:.0%}"),
        caption="Mean over seeds; the band is one standard deviation. Every optimizer starts from "
        "the same weights and sees the same batches and dropout.",
    )
    loss = CurvePlot(
        "Training loss",
        tuple(arm.curve("epoch", "train_loss") for arm in arms),
        y_label="cross-entropy (nats)",
        caption="Mean over the steps of an epoch, with dropout.",
    )
    epochs = [Interval(arm.label, tuple(arm.epochs), attention_name(arm.attention)) for arm in arms]
    reached = IntervalPlot(
        f"Epochs to {level:.0%} test accuracy",
        tuple(epochs),
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
            attention_name(arm.attention),
            arm.label,
            summarize(arm.accuracy),
            summarize(arm.epochs),
            arm.step_milliseconds,
        )
        for arm in arms
    )
    caption = "Mean ± standard deviation [95 % interval] over seeds, after the last step."
    return Table("Results", columns, rows, caption)


def _comparisons(arms: Arms) -> list[DifferenceRow]:
    rows = []
    for (attention, optimizer), arm in arms.items():
        if attention != "plain" and ("plain", optimizer) in arms:
            test = welch(arm.accuracy, arms["plain", optimizer].accuracy)
            kind = "quantum" if attention == "quantum" else attention_name(attention)
            label = f"{arm.label}: {kind} minus plain attention"
            rows.append(DifferenceRow(label, test, 1, percent=True))
    for (attention, optimizer), arm in arms.items():
        if optimizer != "adam" and (attention, "adam") in arms:
            test = welch(arm.accuracy, arms[attention, "adam"].accuracy)
            label = f"{attention_name(attention)}: {arm.label} minus Adam"
            rows.append(DifferenceRow(label, test, 1, percent=True))
    return rows


def _lead(arms: Arms) -> str:
    if ("quantum", "adam") not in arms:
        return "A two-layer transformer with plain attention, several optimizers."
    quantum = summarize(arms["quantum", "adam"].accuracy).text(1, percent=True)
    plain = summarize(arms["plain", "adam"].accuracy).text(1, percent=True)
    return (
        "A two-layer transformer whose attention scores pass through a 4-qubit circuit, in its "
        "exact Fourier form: 17 circuits per layer and step. With Adam it ends at "
        f"{quantum} test accuracy, plain attention at {plain}."
    )


def _highlights(arms: Arms) -> list[Highlight]:
    keys = (("quantum", "adam"), ("plain", "adam"))
    known = [arms[key] for key in keys if key in arms]
    highlights = []
    for arm in known:
        mean = summarize(arm.accuracy).mean or 0.0
        label = f"{attention_name(arm.attention)}, Adam"
        detail = f"test accuracy, seeds: {len(arm.runs)}"
        highlights.append(Highlight(f"{mean:.1%}", label, detail))
    if len(known) == len(keys):
        quantum, plain = known
        ratio = quantum.step_milliseconds / plain.step_milliseconds
        detail = "quantum against plain attention"
        highlights.append(Highlight(f"{ratio:.2f}x", "time of a training step", detail))
    return highlights


def _notes(level: float) -> Notes:
    model = (
        "The model is the paper's Table II: 2 layers, size 64, 4 heads, feed-forward 128, dropout "
        "0.1, batch 32, learning rate 0.001; 4 qubits, depth 2. As printed, the paper's circuit "
        "does not contain the score and softmax cancels it; here the score enters every RY (SPEC "
        "A3)."
    )
    speed = (
        f"Speed is the fractional epoch at which test accuracy first is {level:.0%}, interpolated "
        "between four evaluations an epoch. Adam without bias correction is the control: a method "
        "that is not faster than it owes its speed to the missing correction."
    )
    names = (
        "`SPGD as printed` perturbs the first 4 numbers of the whole model, without bias "
        "correction; `SPGD` perturbs the first 4 numbers of every tensor, scaled as Adam's step is."
    )
    seeds = "With few seeds an interval is wide: no difference found is not a proof of none."
    return Notes("How to read this", (model, speed, names, seeds))
