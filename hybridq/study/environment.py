"""What a run was made with: versions, machine, commit and command, but nothing private."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["command_line", "environment", "without_home"]

_PACKAGES = (
    "hybridq-toolkit",
    "torch",
    "numpy",
    "scipy",
    "pennylane",
    "pennylane-lightning",
    "qiskit",
    "qiskit-aer",
    "qiskit-ibm-runtime",
    "transformers",
)
_SECRET = re.compile(r"token|secret|passw|credential|api-?_?key|\bkey\b", re.IGNORECASE)
_ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, Any]:
    """Describe the machine and the software.

    Environment variables, host and user names are left out; a home folder is written "~", and the
    value of an option whose name speaks of a secret is not written.

    Returns:
        JSON values: python, platform, cpu, cores, threads, cuda devices, package versions, git
            commit, command.
    """
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "versions": {name: number for name in _PACKAGES if (number := _version(name)) is not None},
        "git": _git(),
        "command": command_line(sys.orig_argv),
    }


def command_line(arguments: Sequence[str]) -> str:
    """Write a command as it would be typed.

    The interpreter is "python". Private paths and secrets are left out.

    Args:
        arguments: The words of the command, like `sys.orig_argv`.

    Returns:
        One line, quoted for a shell.

    Example:
        >>> command_line(["/usr/bin/python3", "-m", "experiments.demo", "--token=abc", "--n", "3"])
        'python -m experiments.demo --token=*** --n 3'
    """
    words = ["python"]
    hide = False
    for argument in arguments[1:]:
        option, equals, _ = argument.partition("=")
        is_secret = option.startswith("-") and bool(_SECRET.search(option))
        if hide and not argument.startswith("-"):
            words.append("***")
        elif is_secret and equals:
            words.append(f"{option}=***")
        else:
            words.append(without_home(argument.replace(f"{Path.cwd()}/", "")))
        hide = is_secret and not equals
    return " ".join(word if "***" in word else shlex.quote(word) for word in words)


def without_home(text: str) -> str:
    """Write "~" for the user's home folder wherever a path in `text` begins with it."""
    home = str(Path.home())
    return text if home == "/" else re.sub(rf"{re.escape(home)}(?=/|$)", "~", text)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _git() -> dict[str, Any] | None:
    """Return the commit of the checkout that has this very file; None for an installed package."""
    git = shutil.which("git")
    if git is None or not (_ROOT / ".git").exists():
        return None
    answers = [
        # Without optional locks, looking does not touch a checkout in which somebody works.
        subprocess.run(  # noqa: S603 - git, with words of ours
            [git, "--no-optional-locks", *words],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        for words in (["rev-parse", "HEAD"], ["status", "--porcelain"])
    ]
    if any(answer.returncode for answer in answers):
        return None
    return {"commit": answers[0].stdout.strip(), "dirty": bool(answers[1].stdout.strip())}
