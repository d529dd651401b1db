# shellcheck shell=bash disable=SC2034
# Where jobs run: on this machine, in as many processes as it has processors; --nj changes it for one run.
# Runs of a sweep go to Slurm with, for example, launch=(srun --ntasks=1 --cpus-per-task=4 --gres=gpu:1) and nj=4 here.
nj=$(nproc)
