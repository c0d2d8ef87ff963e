"""The command: `python -m experiments.noise RUN [RUN ...]`."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from experiments.noise.figures import harmonics_figure, levels_figure
from experiments.noise.records import evaluate_run, summary_of, table_lines
from experiments.noise.settings import noise_settings
from experiments.shared.command_line import results_folder, run
from experiments.shared.figures import save_figures
from experiments.shared.summary import write_summary
from experiments.text_classification.jobs import Job, run_job
from hybridq.errors import InvalidArgument, require
from hybridq.study.runs import Run

_SMOKE_SENTENCES = 64
_SMOKE_JOB = Job(
    data="synthetic",
    attention="quantum",
    optimizer="adam",
    seed=0,
    epochs=1,
    train_size=96,
    test_size=_SMOKE_SENTENCES,
    level=0.3,
)


def main(
    checkpoints: Annotated[
        list[Path] | None,
        typer.Argument(help="folders of runs of experiments.text_classification, quantum"),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="seeds of the shots for each setting")] = 3,
    output: Annotated[
        Path | None,
        typer.Option(help="a new folder for records and figures; below runs/ by default"),
    ] = None,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="some seconds: one draw, few settings; without a RUN, one is trained before",
        ),
    ] = False,
) -> None:
    """Evaluate trained runs under noise and shots, with and without readout mitigation.

    Question: what do noise of the gates, readout errors and shots do to a classifier with quantum
    attention that was trained without them? No paper states a number.

    The control is the same classifier without its circuits, whose weight on Phi is set to 0: a
    noise can cost no more accuracy than that. The folder gets two figures, noise.png and
    harmonics.png, and all numbers, summary.json.
    """
    require("matplotlib", "experiments")
    require("qiskit_aer", "ibm")
    if not checkpoints and not smoke:
        reason = "name the folders of runs of experiments.text_classification, or try --smoke"
        raise InvalidArgument.of("checkpoints", checkpoints or [], reason)
    folder = results_folder(output, "noise")
    torch.set_num_threads(1)
    draws = 1 if smoke else draws
    size = _SMOKE_SENTENCES if smoke else None
    trained = checkpoints or [folder / "trained" / run_job(_SMOKE_JOB, folder / "trained")]
    settings = noise_settings(smoke)
    evaluations = [evaluate_run(path, folder, settings, draws, size) for path in trained]
    data = Run.load(trained[0]).config["data"]
    summary = {"data": data, "draws": draws, **summary_of(evaluations, settings)}
    write_summary(folder, summary)
    figures = {"noise": levels_figure(summary), "harmonics": harmonics_figure(summary)}
    save_figures(figures, folder)
    print("\n".join(table_lines(summary)))
    print(f"The figures: {folder}")


if __name__ == "__main__":
    run(main)
