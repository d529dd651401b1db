"""The one trainer: loop, optimisation, checkpoints, averaging and logs."""
