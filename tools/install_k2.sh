#!/usr/bin/env bash
# k2, the reference engine for graphs. speechkit runs without it, on its built-in engine.
#
#   tools/install_k2.sh              # makes tools/venv-k2 (or $SPEECHKIT_K2_VENV): torch 1.13.1 and k2 1.23.4 on CPU, and
#                                    # speechkit with what it needs, about 5 GB
#   tools/install_k2.sh --for-torch  # prints the pip line of the k2 that fits the torch of tools/venv (or $SPEECHKIT_VENV)
#
# The first serves comparisons: the one k2 on the package index for Linux fits torch 1.13.1 and Python 3.11 only.
# tests/run_k2.sh runs tests in it, SPEECHKIT_VENV=tools/venv-k2 egs/timit/run.sh --fsa-engine k2 a recipe.
# The second asks k2's own list of wheels.
set -Eeuo pipefail

readonly k2_version=1.23.4
readonly k2_hash=sha256:5b5f709b12b9cd092b583984d0b7d940c9f898101259c998d68d1f4adefa48d4
tools_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${SPEECHKIT_K2_VENV:-$tools_dir/venv-k2}

fail() {
  echo "install_k2.sh: $*" >&2
  exit "${exit_code:-1}"
}

print_line_for_torch() {
  local main_venv=${SPEECHKIT_VENV:-$tools_dir/venv}
  [[ -x $main_venv/bin/python ]] || fail "no environment in $main_venv: run tools/setup.sh first"
  PYTHONPATH=$(dirname "$tools_dir") exec "$main_venv/bin/python" -m speechkit.common.k2_wheels
}

# Python 3.11 from $PYTHON, python3.11 or python3, whichever is one.
find_python() {
  local candidate
  for candidate in "${PYTHON:-python3.11}" python3; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  fail "k2 $k2_version needs Python 3.11 with its venv module, and there is none: install it and name it, as in PYTHON=/path/to/python3.11 $0"
}

works() {
  "$venv/bin/python" - 2>/dev/null <<'PYTHON'
import k2
import torch

fsa = k2.linear_fsa([1, 2])
scores = k2.create_fsa_vec([fsa]).get_tot_scores(use_double_scores=True, log_semiring=True)
assert torch.equal(scores, torch.zeros(1, dtype=torch.float64))
PYTHON
}

install_k2() {
  local python log=$venv/setup.log
  python=$(find_python)
  echo "making $venv with torch 1.13.1 and k2 $k2_version: about 5 GB, a few minutes (details: $log)"
  "$python" -m venv --clear "$venv"
  {
    # Newer pips do not see k2's wheel: its tag (py3.11-none-any) is malformed. six: torch 1.13.1 imports it for
    # TensorBoard and does not declare it.
    "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off pip==23.2.1 &&
      "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off torch==1.13.1 'numpy<2' graphviz six 'setuptools<81' &&
      echo "k2==$k2_version --hash=$k2_hash" >"$venv/k2.txt" &&
      "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off --no-deps --require-hashes -r "$venv/k2.txt"
  } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "pip failed; its last lines are above, all of them in $log"
  }
}

# speechkit beside k2, in the tested versions of all that does not depend on torch.
add_speechkit() {
  local pins=$venv/pins.txt
  grep -Ev '^(torch|torchaudio|numpy)==' "$tools_dir/constraints.txt" >"$pins"
  PIP_CONSTRAINT=$pins SPEECHKIT_VENV=$venv "$tools_dir/setup.sh"
}

case ${1:-} in
  --for-torch) print_line_for_torch ;;
  '') ;;
  *) exit_code=2 fail "unknown argument '$1': none, or --for-torch" ;;
esac
if ! [[ -x $venv/bin/python ]] || ! works; then
  install_k2
  works || fail "k2 was installed into $venv but does not run: see $venv/bin/python -c 'import k2'"
fi
add_speechkit
echo "k2 $k2_version is ready: $venv/bin/python"
