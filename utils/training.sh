# shellcheck shell=bash disable=SC2154
# Training of recognisers: CTC, or LF-MMI by --set loss=lfmmi, on transcribed audio; stage 6 of most systems.
# The recipe sets: labelled lang hmm exp config full_config overrides fsa_engine seed

# training TITLE [CHECKPOINT]: train from the start on features, or fine-tune a pre-trained model on waveforms.
training() {
    stage 6 "$1"
    recogniser "$exp" "$config" "$labelled" ${2:+--init "$2"}
}

# recogniser OUT CONFIG DATA [OPTION CHECKPOINT]: a step that trains one, which begins with CHECKPOINT as OPTION tells.
recogniser() {
    local model=$1 settings=$2 audio=$3 words=("${@:4}")
    local inputs=(--needs "$audio" --needs "$lang" --needs "$settings")
    if ((${#words[@]} > 0)); then
        inputs+=(--needs "${words[1]}")
    fi
    if keeps_to_alignment "$settings"; then
        inputs+=(--needs "$hmm/ali")
        words+=(--alignments "$hmm/ali/cuts_train_ali.jsonl.gz")
    fi
    step "$model" "${inputs[@]}" --keep -- \
        speechkit train --config "$settings" "${overrides[@]}" --data "$audio" --lang "$lang" "${words[@]}" \
        --out "$model" --fsa-engine "$fsa_engine" --seed "$seed"
}

# keeps_to_alignment CONFIG: whether numerators of LF-MMI are those of stage 3's times.
keeps_to_alignment() {
    local settings=$full_config
    if [[ -z $settings ]]; then
        settings="$(cat -- "$1" 2>/dev/null) ${overrides[*]-}"     # the step tells if it is missing
    fi
    [[ $settings =~ numerator(:\ *|=)alignment ]]
}
