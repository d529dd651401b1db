# shellcheck shell=bash disable=SC2154
# System hubert, stages 4 to 6: clusters of cepstra, then of its own hidden states, are what HuBERT predicts on masked
# waveforms; the last iteration is fine-tuned with CTC (or LF-MMI). --clusters has a number for each iteration.
# The recipe sets what utils/hubert.sh and utils/training.sh want.

# shellcheck source=utils/hubert.sh
. "$SPEECHKIT_ROOT/utils/hubert.sh"

stage 4 "first iteration: clusters of cepstra, pre-training"
hubert_iterations 1 1

stage 5 "further iterations: clusters of hidden states, pre-training"
hubert_iterations 2 "$last_iteration"

training "fine-tuning: CTC or LF-MMI on waveforms" "$pretrained/iteration-$last_iteration/final"
