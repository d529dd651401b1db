# shellcheck shell=bash disable=SC2154
# Stage 6 of every system that ends in a recogniser: CTC, or LF-MMI by --set loss=lfmmi, on transcribed audio.
# The recipe sets: labelled lang hmm exp config overrides fsa_engine seed

# training TITLE [CHECKPOINT]: train from the start on features, or fine-tune a pre-trained model on waveforms.
training() {
    local inputs=(--needs "$labelled" --needs "$lang" --needs "$config") words=()
    stage 6 "$1"
    if (($# > 1)); then
        inputs+=(--needs "$2")
        words+=(--init "$2")
    fi
    if [[ " ${overrides[*]-} " == *" lfmmi.numerator=alignment "* ]]; then
        inputs+=(--needs "$hmm/ali")
        words+=(--alignments "$hmm/ali/cuts_train_ali.jsonl.gz")
    fi
    step "$exp" "${inputs[@]}" --keep -- \
        speechkit train --config "$config" "${overrides[@]}" --data "$labelled" --lang "$lang" "${words[@]}" \
        --out "$exp" --fsa-engine "$fsa_engine" --seed "$seed"
}
