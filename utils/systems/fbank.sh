# shellcheck shell=bash disable=SC2154
# System fbank, stage 6: a model trained from the start on log-mel features, no pre-training.

training "training: CTC or LF-MMI on log-mel features"
