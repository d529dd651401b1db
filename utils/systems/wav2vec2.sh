# shellcheck shell=bash disable=SC2154
# System wav2vec2, stages 4 to 6: wav2vec 2.0 is pre-trained on waveforms and fine-tuned with CTC (or LF-MMI).
# The recipe sets: unlabelled pretrained pretrain_config pretrain_overrides seed, and what utils/training.sh wants

stage 4 "pre-training: wav2vec 2.0 on waveforms without transcripts"
step "$pretrained" --needs "$unlabelled" --needs "$pretrain_config" --keep -- \
    speechkit pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" --data "$unlabelled" \
    --out "$pretrained" --seed "$seed"

training "fine-tuning: CTC or LF-MMI on waveforms" "$pretrained/final"
