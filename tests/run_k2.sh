#!/usr/bin/env bash
# Runs the tests that compare with k2, in an environment that has it: tools/venv-k2 or $SPEECHKIT_K2_VENV, made if
# missing. Options go to pytest: tests/run_k2.sh -k agree -x
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${SPEECHKIT_K2_VENV:-$root/tools/venv-k2}

"$root/tools/install_k2.sh"

# The other tests of graphs hold under k2's old torch too.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec "$venv/bin/python" -m pytest --rootdir "$root" --config-file "$root/pyproject.toml" \
  "$root/tests/k2" "$root/tests/unit/fsa" "$@"
