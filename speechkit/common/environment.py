"""What this process runs on: versions, machine, and what is missing with the command that adds it."""

import importlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import speechkit
from speechkit.common.k2_wheels import advice, installed_torch

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Package:
    """A Python distribution that speechkit uses."""

    name: str
    module: str
    required: bool
    loss: str
    """What does not work without it."""


@dataclass(frozen=True)
class Program:
    """An executable that speechkit can use."""

    name: str
    loss: str


@dataclass(frozen=True)
class State:
    """One package or program as found."""

    name: str
    required: bool
    version: str | None
    """None where it is missing or does not import."""
    problem: str = ""
    """Why it cannot be used: not installed, or the message of its import."""
    loss: str = ""
    command: str = ""


PACKAGES = (
    Package("torch", "torch", True, "everything"),
    Package("numpy", "numpy", True, "everything"),
    Package("scipy", "scipy", True, "room responses, resampling"),
    Package("numba", "numba", True, "graphs on the CPU: losses, alignment, decoding"),
    Package("lhotse", "lhotse", True, "manifests and data loading"),
    Package("lilcom", "lilcom", True, "compressed feature storage"),
    Package("soundfile", "soundfile", True, "reading and writing audio"),
    Package("safetensors", "safetensors", True, "checkpoints"),
    Package("PyYAML", "yaml", True, "configurations"),
    Package("tqdm", "tqdm", True, "progress bars"),
    Package("tensorboard", "tensorboard", True, "training curves"),
    Package("espeakng-loader", "espeakng_loader", True, "synthesis of the miniature corpora"),
    Package("kenlm", "kenlm", False, "beam search with a language model, perplexities"),
    Package("flashlight-text", "flashlight.lib.text", False, "beam search (greedy decoding works)"),
    Package("torchaudio", "torchaudio", False, "checks against torchaudio's aligner and models"),
    Package("kaldifeat", "kaldifeat", False, "nothing but speed: fbank and MFCC then come from torch"),
    Package("k2", "k2", False, "the k2 engine; graphs then run on the built-in one"),
    Package("kaldifst", "kaldifst", False, "decoding on graphs, the default (--decode greedy and beam work)"),
    Package("sentencepiece", "sentencepiece", False, "word-piece units"),
    Package("rVADfast", "rVADfast", False, "silence removal by rVAD (the energy detector works)"),
    Package("matplotlib", "matplotlib", False, "figures of report pages"),
    Package("jieba", "jieba", False, "whole-word masks of a BERT for Chinese text"),
    Package("pypinyin", "pypinyin", False, "syllable error rates of Mandarin, and scoring its characters"),
)

PROGRAMS = (
    Program("lmplz", "n-gram estimation on large texts; the own estimator takes over"),
    Program("ffmpeg", "reading m4a, wma, webm and shortened SPHERE audio"),
)


def package_version(name: str) -> str | None:
    """Version of an installed distribution, of an imported torch with its build (`2.11.0+cu130`), or None."""
    if name == "torch" and "torch" in sys.modules:
        return str(sys.modules["torch"].__version__)
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


NO_RESULTS = ":(exclude)egs/*/RESULTS.md"


@cache
def git_commit() -> str | None:
    """Commit of the source tree, with `-dirty` where files differ from it; None where there is no such tree.

    The tables of results do not count: recipes write them.
    """
    top = _output("git", "-C", str(ROOT), "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != ROOT.resolve():
        return None
    commit = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", ".", NO_RESULTS)
    return f"{commit}-dirty" if commit and changed else commit or None


def report() -> dict[str, Any]:
    """Versions and machine, for logs and results; JSON-able.

    `gpus` are names, `cuda` is the version torch was built for, `packages` maps names to versions.
    """
    torch = _import("torch")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if torch else []
    return {
        "speechkit": speechkit.__version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu": cpu_model(),
        "num_cpus": num_cpus(),
        "memory_gib": memory_gib(),
        "gpus": gpus,
        "cuda": torch.version.cuda if torch else None,
        "packages": {p.name: version for p in PACKAGES if (version := package_version(p.name))},
    }


def cpu_model() -> str:
    """Name of the processor as the kernel gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def num_cpus() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def memory_gib() -> float:
    """Main memory of the machine in GiB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def find_program(name: str) -> Path | None:
    """An executable in the PATH; KenLM's also in $SPEECHKIT_KENLM and where tools/install_kenlm.sh puts them."""
    folders = [*os.get_exec_path()]
    if name == "lmplz":
        chosen = os.environ.get("SPEECHKIT_KENLM")
        folders = [*([chosen, f"{chosen}/bin"] if chosen else []), *folders, str(ROOT / "tools" / "kenlm" / "bin")]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


def check_package(package: Package) -> State:
    """Import a package and say what it is, or what is lost without it and the command that adds it."""
    problem = ""
    try:
        importlib.import_module(package.module)
    except ModuleNotFoundError as error:
        missing = error.name == package.module.split(".")[0]
        problem = "not installed" if missing else f"does not import: {_first_line(error)}"
    except (ImportError, OSError, RuntimeError) as error:
        problem = f"does not import: {_first_line(error)}"
    version = None if problem else package_version(package.name) or "unknown"
    command = install_command(package.name) if problem else ""
    return State(package.name, package.required, version, problem, package.loss if problem else "", command)


def check_program(program: Program) -> State:
    """Find a program and say where it is, or what is lost without it and the command that adds it."""
    if path := find_program(program.name):
        return State(program.name, False, str(path))
    return State(program.name, False, None, "not found", program.loss, install_command(program.name))


def install_command(name: str) -> str:
    """The command that adds the package or program `name` to this environment."""
    if name == "kaldifeat":
        return _script("install_kaldifeat.sh", tells_venv=True)
    if name == "lmplz":
        return _script("install_kenlm.sh", tells_venv=True)
    if name == "ffmpeg":
        return "apt-get install ffmpeg"
    if name == "k2":
        line = advice(installed_torch())
        return line.replace("pip install", _pip("install"), 1) if line.startswith("pip install") else line
    if name == "torchaudio":
        return _torchaudio_command()
    return _pip("install", name)


def _torchaudio_command() -> str:
    """Torchaudio has torch's own number since 2.0, and ends with 2.11."""
    build = installed_torch()
    if build is None:
        return _pip("install", "torch", "torchaudio")
    major, minor = (int(number) for number in build.release.split(".")[:2])
    if (major, minor) > (2, 11):
        return f"none: torchaudio ends with 2.11, and this is torch {build.release}"
    number = build.release if major >= 2 else build.release.replace("1.", "0.", 1)
    return _pip("install", "--no-deps", f"torchaudio=={number}")


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", *arguments])


def _script(name: str, *, tells_venv: bool) -> str:
    """The call of a script in tools/, with the environment it shall work on where that is not the default one."""
    path = ROOT / "tools" / name
    if not path.is_file():
        return f"tools/{name} of speechkit's source tree, with SPEECHKIT_VENV={shlex.quote(sys.prefix)}"
    other = tells_venv and Path(sys.prefix).resolve() != (ROOT / "tools" / "venv").resolve()
    return f"SPEECHKIT_VENV={shlex.quote(sys.prefix)} {shlex.quote(str(path))}" if other else shlex.quote(str(path))


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
