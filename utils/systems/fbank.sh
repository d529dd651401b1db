# shellcheck shell=bash disable=SC2154
# System fbank, stages 4 to 6: a model trained from the start on log-mel features, no pre-training; with CTC, or with
# LF-MMI by --set loss=lfmmi.
# The recipe sets: data lang hmm exp config overrides fsa_engine seed

stage 6 "training: CTC or LF-MMI on log-mel features"
aligned=() alignments=()
if [[ " ${overrides[*]-} " == *" lfmmi.numerator=alignment "* ]]; then
    aligned=(--needs "$hmm/ali")
    alignments=(--alignments "$hmm/ali/cuts_train_ali.jsonl.gz")
fi
step "$exp" --needs "$data/fbank" --needs "$lang" --needs "$config" "${aligned[@]}" --keep -- \
    speechkit train --config "$config" "${overrides[@]}" --data "$data/fbank" --lang "$lang" "${alignments[@]}" \
    --out "$exp" --fsa-engine "$fsa_engine" --seed "$seed"
