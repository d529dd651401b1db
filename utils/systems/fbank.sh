# shellcheck shell=bash disable=SC2154
# System fbank, stages 4 to 6: a CTC model trained from the start on log-mel features, no pre-training.
# The recipe sets: data lang exp config overrides seed

stage 6 "training: CTC on log-mel features"
step "$exp" --needs "$data/fbank" --needs "$lang" --needs "$config" --keep -- \
    speechkit train --config "$config" "${overrides[@]}" --data "$data/fbank" --lang "$lang" --out "$exp" --seed "$seed"
