"""The command `hybridq`."""

import inspect
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

import hybridq
from hybridq import catalogue
from hybridq.backends import available, resolve
from hybridq.circuits import AbstractAnsatz, Circuit, RyRzCnot
from hybridq.cli.compare import compare
from hybridq.cli.console import console
from hybridq.cli.jobs import jobs
from hybridq.errors import HybridqError, InvalidArgument
from hybridq.native import built, kernels, why_none
from hybridq.study.overview import overview
from hybridq.study.report import write_report

__all__ = ["app", "main"]

_READOUTS = catalogue.names("circuits.readouts")
_EXTRAS = {
    "ibm": ("qiskit", "qiskit-aer", "qiskit-ibm-runtime"),
    "hf": ("transformers", "accelerate", "peft"),
    "experiments": ("cmaes", "matplotlib", "jinja2", "huggingface_hub", "scattertext"),
}
_CORE = ("torch", "numpy", "scipy", "pennylane")
_TOLERANCE = 1e-10  # double precision over some 60 gates


class _Group(TyperGroup):
    """Prints an error of ours as one message, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; exit with 2 on an error that hybridq raised on purpose."""
        try:
            return super().invoke(ctx)
        except HybridqError as error:
            Console(stderr=True, soft_wrap=True).print(Text(str(error), style="red"))
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train neural networks with quantum circuits inside.",
)


app.command()(compare)
app.add_typer(jobs, name="jobs")


def main() -> None:
    """Run the command."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hybridq {hybridq.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""
    # Modules of the current folder can be named, as with `python -m`. The folder comes last, so
    # that it hides nothing that is installed.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


@app.command()
def backends() -> None:
    """List where circuits can run: what is installed, what is missing and how to get it."""
    table = Table("backend", "of", "here", "version, or what is missing", "get it with")
    for info in available():
        here = Text("yes", style="green") if info.installed else Text("no", style="yellow")
        table.add_row(
            *map(Text, (info.name, info.kind)),
            here,
            Text(info.version or info.missing),
            Text(info.install),
        )
    console().print(table)


@app.command()
def draw(
    ansatz: Annotated[
        str, typer.Argument(help="A file of circuits/, or package.module:Class.")
    ] = "ry_rz_cnot",
    qubits: Annotated[int | None, typer.Option(help="Number of qubits.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of layers.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Which CNOTs: chain, ring or brick.")] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Where the input enters: every_layer, first_layer or none.")
    ] = None,
    readout: Annotated[
        str, typer.Option(help=f"A file of circuits/readouts/: {', '.join(_READOUTS)}.")
    ] = "expval_z",
    output: Annotated[
        Path | None, typer.Option(help="Draw a picture into this .png, .svg or .pdf file.")
    ] = None,
) -> None:
    """Draw a circuit: as text, or with --output as a picture."""
    given = {"n_qubits": qubits, "n_layers": layers, "pattern": pattern, "encoding": encoding}
    options = {name: value for name, value in given.items() if value is not None}
    measured = catalogue.load("circuits.readouts", readout)()
    circuit = Circuit(_make_ansatz(ansatz, options), measured)
    if output is None:
        typer.echo(circuit.draw())
        return
    if output.suffix not in (".png", ".svg", ".pdf"):
        reason = "the name of a picture ends in .png, .svg or .pdf"
        raise InvalidArgument.of("output", str(output), reason)
    if not output.parent.is_dir():
        reason = f"there is no directory {str(output.parent)!r}"
        raise InvalidArgument.of("output", str(output), reason)
    circuit.draw_figure().savefig(output, bbox_inches="tight")
    typer.echo(str(output))


def _make_ansatz(name: str, options: dict[str, Any]) -> AbstractAnsatz:
    cls = catalogue.load("circuits", name)
    if not (isinstance(cls, type) and issubclass(cls, AbstractAnsatz)) or inspect.isabstract(cls):
        reason = "this is not a class derived from hybridq.circuits.AbstractAnsatz"
        raise InvalidArgument.of("ansatz", name, reason)
    fields = inspect.signature(cls).parameters
    for option, value in options.items():
        if option not in fields:
            reason = f"the ansatz {name!r} has no such option; it has {sorted(fields)}"
            raise InvalidArgument.of(option, value, reason)
    missing = [
        field.name
        for field in fields.values()
        if field.default is field.empty and field.name not in options
    ]
    if missing:
        reason = f"it needs {', '.join(missing)}; give these fields default values to draw it"
        raise InvalidArgument.of("ansatz", name, reason)
    ansatz: AbstractAnsatz = cls(**options)
    return ansatz


@app.command()
def doctor() -> None:
    """Say what this installation has, and compare the engine with PennyLane.

    The exit code is 1 if there is a problem.
    """
    table = Table("what", "found", show_header=False)
    for row in [*_machine(), *_packages()]:
        table.add_row(*map(Text, row))  # plain text: rich would take [ibm] for markup
    terminal = console()
    terminal.print(table)
    problems = list(_problems())
    for problem in problems:
        terminal.print(Text(f"problem: {problem}", style="red"), soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    terminal.print(Text("OK", style="green"))


def _machine() -> Iterator[tuple[str, str]]:
    yield "hybridq", hybridq.__version__
    yield "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    yield "threads", f"{threads} (OMP_NUM_THREADS sets them)"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield "CUDA", ", ".join(names) or "no device"
    chosen = kernels()
    if chosen is None:
        yield "native kernels", why_none()
    else:
        libraries = ", ".join(built())
        yield "native kernels", f"{chosen.name}, of {libraries} (HYBRIDQ_KERNELS chooses)"
    data = os.environ.get("HYBRIDQ_DATA")
    yield "data directory", data or "not set (HYBRIDQ_DATA names it)"


def _packages() -> Iterator[tuple[str, str]]:
    for name in _CORE:
        yield name, _found(name) or "missing"
    for extra, distributions in _EXTRAS.items():
        missing = [name for name in distributions if not _found(name)]
        present = [f"{name} {_found(name)}" for name in distributions if name not in missing]
        parts = [", ".join(present)] if present else []
        if missing:
            command = f"pip install 'hybridq-toolkit[{extra}]'"
            parts.append(f"missing: {', '.join(missing)} ({command})")
        yield f"extra [{extra}]", "; ".join(parts)


def _found(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _problems() -> Iterator[str]:
    for name in _CORE:
        if not _found(name):
            yield f"{name} is missing: pip install hybridq-toolkit"
    if _found("hybridq"):
        yield (
            "the distribution 'hybridq' is another project with the same import name: "
            "pip uninstall hybridq"
        )
    if _found("qiskit-aer") and _found("qiskit-aer-gpu"):
        yield (
            "qiskit-aer and qiskit-aer-gpu share a folder: uninstall both, then install one of them"
        )
    data = os.environ.get("HYBRIDQ_DATA")
    if data and not Path(data).is_dir():
        yield f"HYBRIDQ_DATA={data!r} is not a directory"
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        deviation = _self_test(device)
        if not deviation < _TOLERANCE:
            difference = f"deviates from default.qubit by {deviation:.1e}"
            yield f"the engine on {device} {difference}; please report it"


def _self_test(device: str) -> float:
    """Return the engine's largest deviation from default.qubit on a random circuit.

    Outputs and gradients are compared.
    """
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=3, pattern="ring"))
    draw_from = torch.Generator().manual_seed(7)
    inputs = torch.randn(5, 1, generator=draw_from, dtype=torch.float64)
    weights = torch.randn(circuit.weight_shape, generator=draw_from, dtype=torch.float64)
    results = []
    for name, place in (("statevector", device), ("default.qubit", "cpu")):
        x, w = (t.to(place, copy=True).requires_grad_() for t in (inputs, weights))
        outputs = resolve(name).evaluate(circuit, x, w)
        gradients = torch.autograd.grad(outputs.square().sum(), (x, w))
        results.append(torch.cat([t.detach().cpu().flatten() for t in (outputs, *gradients)]))
    return (results[0] - results[1]).abs().max().item()


@app.command()
def report(
    runs: Annotated[Path, typer.Argument(help="The folder of one run, or a folder of runs.")],
    output: Annotated[
        Path | None, typer.Option(help="The folder to write into; by default that of the runs.")
    ] = None,
) -> None:
    """Write the report of a run, or of all runs in a folder.

    It is one HTML page, with its plots beside it.
    """
    typer.echo(str(write_report(overview(runs), output or runs)))


if __name__ == "__main__":
    main()
