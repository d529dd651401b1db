# shellcheck shell=bash disable=SC2034
# Where jobs run: on this machine, in as many processes as it has processors; --nj changes it for one run.
nj=$(nproc)
