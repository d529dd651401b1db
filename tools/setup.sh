#!/usr/bin/env bash
# Makes the Python environment of this project and installs speechkit into it. Does nothing when it is up to date.
#
#   tools/setup.sh                        # tools/venv
#   SPEECHKIT_VENV=DIR tools/setup.sh     # another place, or an environment of yours (its torch is then left alone)
#   PYTHON=python3.12 tools/setup.sh      # another Python than python3
#
# Every recipe's path.sh and tests/run.sh call it. What pip says is in <environment>/setup.log.
set -Eeuo pipefail

readonly needed_gib=7
tools_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$tools_dir")
venv=${SPEECHKIT_VENV:-$tools_dir/venv}
[[ $venv == /* ]] || venv=$PWD/$venv
stamp=$venv/.speechkit-ready      # holds the fingerprint of what was installed
ours=$venv/.speechkit-made        # this script made the environment, so it may pin and remake it
unfinished=$venv/.speechkit-unfinished

fail() {
  echo "setup.sh: $*" >&2
  exit 1
}

# What the environment depends on; it is out of date when this changes.
fingerprint() {
  {
    echo "$root"
    cat "$root/setup.cfg" "$root/pyproject.toml" "$tools_dir/constraints.txt" "$tools_dir/setup.sh"
  } | sha256sum | cut -d ' ' -f 1
}

is_ready() {
  [[ -f $stamp && ! -e $unfinished && -x $venv/bin/python && $(<"$stamp") == "$wanted" ]]
}

check_python() {
  command -v "$python" >/dev/null || fail "$python not found: install Python 3.10 or newer (Debian: apt-get install python3 python3-venv)"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$python is $("$python" -V 2>&1), 3.10 or newer is needed: name one, as in PYTHON=python3.11 tools/setup.sh"
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make environments: install its venv module (Debian: apt-get install python3-venv)"
}

check_compiler() {
  command -v g++ >/dev/null || fail "no C++ compiler, and kenlm is built from source: install one (Debian: apt-get install g++ python3-dev)"
  local header
  header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
  [[ -f $header ]] || fail "no $header, and kenlm is built from source: install Python's headers (Debian: apt-get install python3-dev)"
}

check_space() {
  local free_kib
  free_kib=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
  ((free_kib >= needed_gib * 1024 * 1024)) ||
    fail "the disk of $1 has $((free_kib / 1024 / 1024)) GiB free, $needed_gib GiB are needed: free some, or set SPEECHKIT_VENV to another disk"
}

# A new environment, or the old one from scratch if an earlier run was killed inside pip.
make_environment() {
  if [[ -x $venv/bin/python && ! -e $unfinished ]] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    return 0
  fi
  if [[ -e $venv && ! -e $ours && ! -e $unfinished ]] && [[ -n $(ls -A "$venv") ]]; then
    fail "$venv exists and is no Python environment with pip: set SPEECHKIT_VENV to another folder"
  fi
  if [[ -e $unfinished ]]; then
    echo "setup.sh: an earlier run was interrupted; making $venv again"
  fi
  check_python
  check_compiler
  mkdir -p "$venv"
  check_space "$venv"
  touch "$unfinished" "$ours"
  "$python" -m venv --clear "$venv" >"$log_file" 2>&1 || { tail -n 20 "$log_file" >&2; fail "$python -m venv failed"; }
  touch "$unfinished" "$ours"
}

# pip must not exchange the torch of an environment that somebody else made, nor the numpy that it was built for.
installed_torch() {
  "$venv/bin/python" -m pip list --format=freeze 2>/dev/null | grep -E '^(torch|torchaudio|numpy)==' || true
}

run_pip() {
  local started=$SECONDS constraints=$tools_dir/constraints.txt extras=decode,dev,mandarin,report,torchaudio
  if [[ ! -e $ours && -n $(installed_torch) ]]; then
    constraints=$venv/.speechkit-constraints
    extras=decode,dev,mandarin,report
    installed_torch >"$constraints"
    echo "setup.sh: adding speechkit to $venv and keeping its $(paste -sd ' ' "$constraints")"
  else
    echo "setup.sh: installing torch, lhotse and what else is needed into $venv: about 5 GB, a few minutes (details: $venv/setup.log)"
  fi
  rm -f "$stamp"
  touch "$unfinished"
  local status=0
  "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
    --constraint "$constraints" --editable "${root}[${extras}]" >"$venv/setup.log" 2>&1 || status=$?
  # pip came back by itself, so it installed whole packages or none; only a kill leaves the mark standing.
  rm -f "$unfinished"
  if ((status != 0)); then
    tail -n 20 "$venv/setup.log" >&2
    fail "pip failed (its last lines are above, all of them in $venv/setup.log); the next run tries again"
  fi
  echo "$wanted" >"$stamp"
  echo "setup.sh: done in $((SECONDS - started)) s"
}

python=${PYTHON:-python3}
wanted=$(fingerprint)
if is_ready; then
  exit 0
fi

mkdir -p "$(dirname "$venv")"
exec 9>"$(dirname "$venv")/.$(basename "$venv").lock"
if ! flock --nonblock 9; then
  echo "setup.sh: another run is making $venv; waiting for it"
  flock 9
fi
if is_ready; then
  exit 0
fi
trap 'exit 130' INT TERM
log_file=$(mktemp "${TMPDIR:-/tmp}/speechkit-setup.XXXXXX")
trap 'rm -f "$log_file"' EXIT
make_environment
run_pip
