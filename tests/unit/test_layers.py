"""Packages import lower layers only, heavy packages have one home each, and `import speechkit` needs torch alone."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "speechkit").rglob("*.py"))

# The package of speechkit that alone may import it.
HOMES = {
    "lhotse": "data",
    "kaldifeat": "features",
    "kenlm": "lm",
    "flashlight": "decode",
    "k2": "fsa",
    "kaldifst": "fsa",
    "kaldi_decoder": "decode",
    "sentencepiece": "text",
    "pypinyin": "text",
    "jieba": "lm",
    "espeakng_loader": "data",
    "rVADfast": "features",
}
OPTIONAL = {*HOMES, "torchaudio", "matplotlib", "tensorboard", "numba", "soundfile", "lilcom", "tqdm"}


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_import_contracts() -> None:
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
        + ["--no-cache", "--config", str(ROOT / "setup.cfg")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_packages_are_imported_at_home(path: Path) -> None:
    package = path.relative_to(ROOT / "speechkit").parts[0]
    strays = {name for name in imported_modules(path) if HOMES.get(name.split(".")[0], package) != package}
    assert not strays, f"{strays} belong into speechkit.{[HOMES[name.split('.')[0]] for name in strays]}"


def test_only_what_torchaudio_still_declares() -> None:
    gone = re.compile(r"torchaudio\.(io|sox_effects|prototype|info|backend|list_audio_backends|load|save)\b")
    imported = [name for path in SOURCES for name in imported_modules(path) if gone.match(name)]
    attributes = [str(path) for path in SOURCES if gone.search(path.read_text(encoding="utf-8"))]
    assert (imported, attributes) == ([], [])


@pytest.mark.parametrize("module", [f"speechkit{part}" for part in ("", ".models", ".nn", ".losses", ".cli")])
def test_import_needs_torch_alone(module: str) -> None:
    code = f"""
import importlib, importlib.machinery, pkgutil
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: (
    None if name.split(".")[0] in {OPTIONAL!r} else find(name, *rest))
module = importlib.import_module({module!r})
if module.__name__ != "speechkit":
    for info in pkgutil.walk_packages(module.__path__, module.__name__ + "."):
        importlib.import_module(info.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_no_import_of_fairseq() -> None:
    assert not [path for path in SOURCES if any(name.split(".")[0] == "fairseq" for name in imported_modules(path))]
