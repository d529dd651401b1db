#!/usr/bin/env bash
# Builds KenLM's lmplz and build_binary into tools/kenlm/bin from the source release on the package index: about 3 minutes.
# speechkit runs without them: it then estimates n-gram models itself, which takes longer and more memory on a large text.
#
# Needs CMake, a C++ compiler and Boost; where apt-get may be used (root, or sudo without a password), missing ones are installed.
set -Eeuo pipefail

readonly version=0.3.0
readonly packages=(cmake g++ make libboost-program-options-dev libboost-system-dev libboost-thread-dev libboost-test-dev
  zlib1g-dev libbz2-dev liblzma-dev)
tools_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${SPEECHKIT_VENV:-$tools_dir/venv}
bin_dir=$tools_dir/kenlm/bin
work_dir=

fail() {
  echo "install_kenlm.sh: $*" >&2
  exit 1
}

works() {
  [[ -x $bin_dir/lmplz && -x $bin_dir/build_binary ]] || return 1
  printf 'a b\nb a\n' | "$bin_dir/lmplz" --order 2 --discount_fallback -S 100M -T "$bin_dir/" 2>/dev/null | grep "^ngram 2=" >/dev/null
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

install_packages() {
  command -v dpkg-query >/dev/null || return 0 # not Debian: CMake names what is missing
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} > 0)) || return 0
  local command=(apt-get install --yes --no-install-recommends "${missing[@]}")
  local as_root=()
  if ((EUID != 0)); then
    sudo --non-interactive true 2>/dev/null || fail "these packages are missing; have them installed and call again: sudo ${command[*]}"
    as_root=(sudo --non-interactive)
  fi
  echo "installing ${missing[*]}"
  { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${command[@]}"; } \
    >"$work_dir/log" 2>&1 || show_log "apt-get failed"
}

show_log() {
  tail -n 30 "$work_dir/log" >&2
  fail "$1; its last lines are above"
}

[[ -x $venv/bin/python ]] || fail "no environment in $venv: run tools/setup.sh first"
if works; then
  echo "lmplz and build_binary are in $bin_dir already"
  exit 0
fi
work_dir=$(mktemp -d "${TMPDIR:-/tmp}/kenlm.XXXXXX")
trap 'rm -rf "$work_dir"' EXIT
install_packages

echo "building KenLM $version: about 3 minutes on two cores"
"$venv/bin/python" -m pip download --no-deps --no-binary kenlm --dest "$work_dir" "kenlm==$version" >"$work_dir/log" 2>&1 ||
  show_log "pip could not fetch kenlm $version"
tar -xf "$work_dir/kenlm-$version.tar.gz" -C "$work_dir"
cmake -S "$work_dir/kenlm-$version" -B "$work_dir/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
  -DENABLE_INTERPOLATE=OFF >"$work_dir/log" 2>&1 || show_log "CMake failed"
cmake --build "$work_dir/build" --target lmplz build_binary --parallel "$(nproc)" >"$work_dir/log" 2>&1 ||
  show_log "the build failed"
mkdir -p "$bin_dir"
install "$work_dir/build/bin/lmplz" "$work_dir/build/bin/build_binary" "$bin_dir/"
works || fail "lmplz was built but does not run: try $bin_dir/lmplz --help"
echo "lmplz and build_binary are in $bin_dir"
