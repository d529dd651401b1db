#!/usr/bin/env bash
# Builds kaldifeat (C++ fbank and MFCC) for the torch of tools/venv and installs it there: 6 to 9 minutes on two cores.
# speechkit runs without it; its own torch features take over.
#
#   tools/install_kaldifeat.sh            # does nothing if this torch has a working kaldifeat already
#   SPEECHKIT_VENV=DIR tools/install_kaldifeat.sh
#
# The wheel is kept in tools/kaldifeat/wheels, so that a new environment with the same torch installs it in seconds.
set -Eeuo pipefail

readonly version=1.24
tools_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${SPEECHKIT_VENV:-$tools_dir/venv}
python=$venv/bin/python
log=$venv/kaldifeat.log
work_dir=

fail() {
  echo "install_kaldifeat.sh: $*" >&2
  exit 1
}

# The compiler's complaints, or else the end of the log.
show_log() {
  grep -E -A 3 'error:|Error [0-9]|CMake Error' "$log" | head -n 30 >&2 || tail -n 20 "$log" >&2
  fail "$1; all that was said is in $log"
}

# kaldifeat as a user would call it: import, and one frame of features through the C++ code.
works() {
  "$python" - 2>/dev/null <<'PYTHON'
import kaldifeat
import torch

options = kaldifeat.FbankOptions()
options.frame_opts.dither = 0
assert kaldifeat.Fbank(options)(torch.zeros(400)).shape == (1, 23)
PYTHON
}

# kaldifeat's build pastes paths into shell commands unquoted: show it the environment under a plain name.
plain_path() {
  if [[ $venv =~ ^[A-Za-z0-9_./+-]+$ ]]; then
    echo "$venv"
  else
    ln -s "$venv" "$work_dir/venv"
    echo "$work_dir/venv"
  fi
}

build_wheel() {
  local wheel_dir=$1 build_venv build_python
  work_dir=$(mktemp -d "${TMPDIR:-/tmp}/kaldifeat.XXXXXX")
  trap 'rm -rf "$work_dir"' EXIT
  build_venv=$(plain_path)
  build_python=$build_venv/bin/python
  cp -r "$tools_dir/kaldifeat/pybind11" "$tools_dir/kaldifeat/torch" "$work_dir/"
  # The build tools live in a folder of their own, so that the environment keeps exactly what setup.sh put there.
  "$python" -m pip install --quiet --target "$work_dir/build_tools" 'cmake<4' pybind11 'setuptools<82' wheel >"$log" 2>&1 ||
    show_log "the build tools could not be installed"
  local cmake_args=(
    "-DPYTHON_EXECUTABLE=$build_python"
    "-DTorch_DIR=$work_dir/torch"
    "-Dpybind11_DIR=$work_dir/build_tools/pybind11/share/cmake/pybind11"
    "-DFETCHCONTENT_SOURCE_DIR_PYBIND11=$work_dir/pybind11"
    -DCMAKE_CXX_STANDARD=20
    -DCMAKE_INSTALL_LIBDIR=lib
    -DCMAKE_INSTALL_INCLUDEDIR=include
    "-DCMAKE_MODULE_LINKER_FLAGS='-Wl,-rpath,\$ORIGIN/kaldifeat/lib'"
  )
  PYTHONPATH=$work_dir/build_tools PATH=$work_dir/build_tools/bin:$PATH \
    KALDIFEAT_CMAKE_ARGS="${cmake_args[*]}" KALDIFEAT_MAKE_ARGS="-j$(nproc)" \
    "$build_python" -m pip wheel --no-cache-dir --no-deps --no-build-isolation --no-binary kaldifeat \
    --wheel-dir "$work_dir/wheel" --verbose "kaldifeat==$version" >"$log" 2>&1 || show_log "the build failed"
  mkdir -p "$wheel_dir"
  mv "$work_dir"/wheel/kaldifeat-*.whl "$wheel_dir/"
}

[[ -x $python ]] || fail "no environment in $venv: run tools/setup.sh first"
if works; then
  echo "kaldifeat $version is installed in $venv already"
  exit 0
fi
torch_tag=$("$python" -c 'import sys, torch; print(f"torch-{torch.__version__}-cp{sys.version_info[0]}{sys.version_info[1]}")') ||
  fail "torch does not import in $venv: run tools/setup.sh first"
command -v g++ >/dev/null || fail "no C++ compiler: apt-get install g++ make"
command -v make >/dev/null || fail "no make: apt-get install make"

wheels=$tools_dir/kaldifeat/wheels/$torch_tag
if ! compgen -G "$wheels/kaldifeat-$version-*.whl" >/dev/null; then
  echo "building kaldifeat $version for $torch_tag: 6 to 9 minutes on two cores"
  build_wheel "$wheels"
fi
"$python" -m pip install --quiet --no-deps --no-index --force-reinstall "$wheels"/kaldifeat-"$version"-*.whl
works || fail "kaldifeat was built and installed but does not run: remove $wheels and try again"
echo "kaldifeat $version is ready in $venv"
