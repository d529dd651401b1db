"""The environment report and the commands that `speechkit doctor` prints."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from speechkit.common import environment, k2_wheels
from speechkit.common.environment import Package, Program, check_package, check_program, install_command
from speechkit.common.k2_wheels import TorchBuild, advice, line_from_index

CUDA_INDEX = "https://k2-fsa.github.io/k2/cuda.html"
CPU_INDEX = "https://k2-fsa.github.io/k2/cpu.html"


@pytest.mark.parametrize(
    ("release", "cuda", "line"),
    [
        ("2.11.0", "13.0", f"pip install k2==1.24.4.dev20260423+cuda13.0.torch2.11.0 -f {CUDA_INDEX}"),
        ("2.10.0", "12.8", f"pip install k2==1.24.4.dev20260306+cuda12.8.torch2.10.0 -f {CUDA_INDEX}"),
        ("2.4.1", None, f"pip install k2==1.24.4.dev20241029+cpu.torch2.4.1 -f {CPU_INDEX}"),
    ],
)
def test_k2_line_for_a_known_torch(release: str, cuda: str | None, line: str) -> None:
    assert advice(TorchBuild(release, cuda)) == line


@pytest.mark.parametrize(("release", "cuda", "index"), [("2.7.1", "12.6", CUDA_INDEX), ("2.13.0", None, CPU_INDEX)])
def test_k2_advice_for_a_torch_only_the_list_knows(release: str, cuda: str | None, index: str) -> None:
    text = advice(TorchBuild(release, cuda))
    assert text.startswith("tools/install_k2.sh --for-torch")
    assert index in text


@pytest.mark.parametrize("release", ["2.15.0", "1.12.1", "2.14.0", "2.11.0a0"])
def test_k2_advice_without_a_wheel_names_the_engine(release: str) -> None:
    assert advice(TorchBuild(release, "13.0")).endswith("the built-in engine will be used (--fsa-engine torch)")


def page(*names: str) -> str:
    return "".join(f'<a href="https://example.org/{name.replace("+", "%2B")}">{name}</a><br/>\n' for name in names)


LIST = page(
    "k2-1.24.4.dev20251118+cuda12.8.torch2.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "k2-1.24.4.dev20260625+cuda12.8.torch2.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "k2-1.24.4.dev20260701+cuda12.8.torch2.9.1-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "k2-1.24.4.dev20260702+cuda12.8.torch2.9.1-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
    "k2-1.24.4.dev20260703+cuda12.8.torch2.9.1-cp311-cp311-win_amd64.whl",
    "k2-1.24.4.dev20260704+cuda12.8.torch2.9.10-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "k2-1.24.3.dev20261231+cuda12.6.torch2.9.1-cp311-cp311-linux_x86_64.whl",
)


def test_index_gives_the_newest_wheel_of_exactly_this_torch_cuda_python_and_machine() -> None:
    line = line_from_index(LIST, TorchBuild("2.9.1", "12.8"), (3, 11))
    assert line == f"pip install k2==1.24.4.dev20260625+cuda12.8.torch2.9.1 -f {CUDA_INDEX}"
    older_tag = line_from_index(LIST, TorchBuild("2.9.1", "12.6"), (3, 11))
    assert older_tag == f"pip install k2==1.24.3.dev20261231+cuda12.6.torch2.9.1 -f {CUDA_INDEX}"


def test_index_without_a_fitting_wheel() -> None:
    assert line_from_index(LIST, TorchBuild("2.9.1", "12.8"), (3, 13)) is None
    assert line_from_index(LIST, TorchBuild("2.9.1", None), (3, 11)) is None


def test_missing_package_names_loss_and_command() -> None:
    state = check_package(Package("no-such-package", "no_such_module", False, "nothing at all"))
    assert state.version is None
    assert (state.problem, state.loss) == ("not installed", "nothing at all")
    assert state.command == f"{shlex.quote(sys.executable)} -m pip install no-such-package"


def test_package_that_does_not_import_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_built.py").write_text("raise ImportError('libfoo.so: undefined symbol: bar\\nmore')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    state = check_package(Package("half-built", "half_built", True, "speed"))
    assert state.version is None
    assert state.problem == "does not import: libfoo.so: undefined symbol: bar"


def test_present_package_has_no_remedy() -> None:
    state = check_package(Package("torch", "torch", True, "everything"))
    assert state.version is not None
    assert (state.problem, state.loss, state.command) == ("", "", "")


def test_missing_program_names_its_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SPEECHKIT_KENLM", raising=False)
    monkeypatch.setattr(environment, "ROOT", tmp_path / "elsewhere")
    state = check_program(Program("lmplz", "speed"))
    assert state.version is None
    assert "tools/install_kenlm.sh" in state.command


def test_script_command_carries_the_environment_and_survives_a_space(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = tmp_path / "ein Ordner"
    (root / "tools").mkdir(parents=True)
    script = root / "tools" / "install_kaldifeat.sh"
    script.write_text('#!/bin/sh\nprintf %s "$SPEECHKIT_VENV"\n')
    script.chmod(0o755)
    monkeypatch.setattr(environment, "ROOT", root)
    monkeypatch.setattr(sys, "prefix", str(root / "my venv"))
    printed = subprocess.run(["sh", "-c", install_command("kaldifeat")], capture_output=True, text=True, check=True)
    assert printed.stdout == str(root / "my venv")
    monkeypatch.setattr(sys, "prefix", str(root / "tools" / "venv"))
    assert install_command("kaldifeat") == f"'{script}'"


@pytest.mark.parametrize(
    ("release", "command"),
    [("2.11.0", "torchaudio==2.11.0"), ("1.13.1", "torchaudio==0.13.1"), ("2.13.0", "none: torchaudio ends with 2.11")],
)
def test_torchaudio_follows_torch(monkeypatch: pytest.MonkeyPatch, release: str, command: str) -> None:
    monkeypatch.setattr(environment, "installed_torch", lambda: TorchBuild(release, None))
    assert command in install_command("torchaudio")


def test_report_has_what_a_help_thread_asks_for() -> None:
    content = environment.report()
    assert json.loads(json.dumps(content)) == content
    assert content["speechkit"] == "0.1.0"
    assert content["python"] == ".".join(map(str, sys.version_info[:3]))
    assert content["num_cpus"] >= 1
    assert content["memory_gib"] > 0
    assert content["packages"]["torch"].startswith(sys.modules["torch"].__version__)
    assert {"git_commit", "platform", "host", "cpu", "gpus", "cuda"} <= content.keys()


def test_commit_is_that_of_speechkits_own_tree_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("one")
    (tmp_path / "site-packages").mkdir()
    git("add", "file")
    git("commit", "-m", "first")

    def commit_seen_from(root: Path) -> str | None:
        monkeypatch.setattr(environment, "ROOT", root)
        environment.git_commit.cache_clear()
        return environment.git_commit()

    try:
        assert commit_seen_from(tmp_path) == git("rev-parse", "HEAD")
        assert commit_seen_from(tmp_path / "site-packages") is None
        (tmp_path / "file").write_text("two")
        assert commit_seen_from(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
    finally:
        environment.git_commit.cache_clear()


HIDE = """
import importlib.machinery, sys
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: (
    None if name.split(".")[0] in {hidden!r} else find(name, *rest))
"""


def run_python(hidden: set[str], code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden=hidden) + code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(k2_wheels.__file__).parents[2],
    )


def test_report_without_torch() -> None:
    done = run_python({"torch"}, "from speechkit.common.environment import report; print(report()['gpus'])")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_doctor_fails_on_a_missing_requirement_and_names_the_command() -> None:
    done = run_python({"safetensors", "k2"}, "from speechkit.cli import main; sys.exit(main(['doctor']))")
    assert done.returncode == 1
    assert "safetensors (required): not installed" in done.stdout
    assert f"{shlex.quote(sys.executable)} -m pip install safetensors" in done.stdout
    assert "required and missing: safetensors;" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_succeeds_without_optional_packages() -> None:
    hidden = {"k2", "kaldifeat", "kenlm", "flashlight", "torchaudio", "kaldifst", "sentencepiece", "matplotlib"}
    done = run_python(hidden, "from speechkit.cli import main; sys.exit(main(['doctor']))")
    assert done.returncode == 0, done.stderr
    for package in ("k2", "kaldifeat", "kenlm", "flashlight-text", "torchaudio"):
        assert f"  {package}: not installed" in done.stdout
