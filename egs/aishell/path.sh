# shellcheck shell=bash
# The environment: made on the first run, which takes some minutes, and left alone as long as it is up to date.
# To use one of your own, set SPEECHKIT_VENV to its folder.
"$SPEECHKIT_ROOT/tools/setup.sh"
export PATH="${SPEECHKIT_VENV:-$SPEECHKIT_ROOT/tools/venv}/bin:$PATH"
