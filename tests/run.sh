#!/usr/bin/env bash
# Sets up what is missing and runs the tests. Options go to pytest: tests/run.sh -k scoring -x
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${SPEECHKIT_VENV:-$root/tools/venv}

"$root/tools/setup.sh"

workers=$(($(nproc) < 4 ? $(nproc) : 4))
# One thread per worker: the tests are many and small. (nproc heeds this too.)
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec "$venv/bin/python" -m pytest --rootdir "$root" --config-file "$root/pyproject.toml" --numprocesses "$workers" \
  "$root/tests" "$@"
