# shellcheck shell=bash disable=SC2154
# System wav2vec, stages 4 to 6: wav2vec is pre-trained on waveforms; its context vectors are the features of an acoustic
# model, trained with CTC (or LF-MMI).
# The recipe sets: unlabelled pretrained pretrain_config pretrain_overrides seed, and what utils/training.sh wants

stage 4 "pre-training: wav2vec on waveforms without transcripts"
step "$pretrained" --needs "$unlabelled" --needs "$pretrain_config" --keep -- \
    speechkit pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" --data "$unlabelled" \
    --out "$pretrained" --seed "$seed"

stage 5 "features: context vectors"
hidden_features "$pretrained/final" 2

training "training: CTC or LF-MMI on context vectors"
