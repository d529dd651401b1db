# shellcheck shell=bash disable=SC2154
# System pseudo-label, stages 4 to 6: a teacher trained on the transcribed part labels audio without transcripts by its
# search with the language model; a student learns from both and is the next round's teacher (Kahn et al. 2019; Xu et
# al. 2020). Rounds end with --rounds, or with the first that is worse on dev; the best on dev is the result.
#
# In $rounds_dir: round-0 (the teacher), labels-1, round-1, labels-2 ..., each round with decode_dev_*; --pretrained names
# another folder. --set changes teacher and students alike, --config the students only; filters are those of
# conf/pseudo-label_filter.yaml. Transcripts of the audio in $unlabelled are never read; the text of the
# language model should not hold them either.
# The recipe sets: unlabelled labelled data lm decode rounds student nj, and what utils/training.sh wants

rounds_dir=$exp-rounds
if given pretrained; then
    rounds_dir=$pretrained
fi
if [[ $decode == greedy ]]; then
    method=greedy model=()
else
    language_model_search
fi
if keeps_to_alignment "$config"; then
    usage_error "pseudo-labels have no alignments: take --set lfmmi.numerator=transcript"
fi

# measure_round NUMBER: errors on dev, where the weights of the language model are tuned for this model.
measure_round() {
    local made=$rounds_dir/round-$1
    local dev=$made/decode_dev_$method inputs=() tuning=()
    if [[ $method != greedy ]]; then
        inputs=(--needs "${model[1]}")
        tuning=(--sweep --nj "$nj")
    fi
    step "$dev" --needs "$made/final" --needs "$data/fbank/cuts_dev.jsonl.gz" "${inputs[@]}" -- \
        speechkit decode --checkpoint "$made/final" --cuts "$data/fbank/cuts_dev.jsonl.gz" --out "$dev" \
        --method "$method" "${model[@]}" "${tuning[@]}"
    always --needs "$dev" -- speechkit score --dir "$dev" --lang "$lang"
}

# label_round NUMBER: what the round before hears, for this one to learn from.
label_round() {
    local out=$rounds_dir/labels-$1 made=$rounds_dir/round-$(($1 - 1)) inputs=() words=()
    if [[ $method != greedy ]]; then
        inputs+=(--needs "${model[1]}" --needs "$made/decode_dev_$method/weights.json")
        words+=(--weights "$made/decode_dev_$method/weights.json")
    fi
    if (($1 > 1)); then
        inputs+=(--needs "$rounds_dir/labels-$(($1 - 1))")
        words+=(--previous "$rounds_dir/labels-$(($1 - 1))")
    fi
    step "$out" --needs "$made/final" --needs "$pool" --needs "$labelled" --needs "$filter" "${inputs[@]}" -- \
        speechkit pseudo-label --checkpoint "$made/final" --cuts "$pool/cuts_train.jsonl.gz" --labelled "$labelled" \
        --config "$filter" --round "$1" --method "$method" "${model[@]}" "${words[@]}" --out "$out" --nj "$nj"
}

# train_round NUMBER: a student, from the start or from its teacher's weights.
train_round() {
    local teacher=''
    if [[ $student == continue ]]; then
        teacher=$rounds_dir/round-$(($1 - 1))/final
    fi
    recogniser "$rounds_dir/round-$1" "$config" "$rounds_dir/labels-$1" ${teacher:+--start "$teacher"}
}

# verdict_on NUMBER: 'stop' if this round is the last, as it is worse than the one before; nothing while that is not known.
verdict_on() {
    local dev=$rounds_dir/round-$1/decode_dev_$method
    if [[ $mode != help && -z ${planned[$dev]-} ]] && ((stage <= 6 && stop_stage >= 5)) && is_done "$dev" &&
        command -v speechkit >/dev/null; then
        speechkit rounds --in "$rounds_dir" --decoding "decode_dev_$method" --rounds "$1" --verdict
    fi
}

stage 4 "teacher: trained on the transcribed part, measured on dev"
recogniser "$rounds_dir/round-0" conf/fbank.yaml "$labelled"
measure_round 0

stage 5 "rounds: labels for the other audio, a student trained on them, measured on dev"
filter=conf/pseudo-label_filter.yaml
pool=$data/fbank
if [[ $unlabelled != "$data/valid" ]]; then
    pool=${unlabelled%/*}/fbank
    step "$pool" --needs "$unlabelled" --needs conf/features.yaml -- \
        speechkit features --in "$unlabelled" --out "$pool" --config conf/features.yaml --nj "$nj"
fi
measured=(--needs "$rounds_dir/round-0/decode_dev_$method")
comparison=(speechkit rounds --in "$rounds_dir" --decoding "decode_dev_$method" --rounds "$rounds")
for ((round = 1; round <= rounds; round++)); do
    label_round "$round"
    train_round "$round"
    measure_round "$round"
    measured+=(--needs "$rounds_dir/round-$round/decode_dev_$method")
    verdict=$(verdict_on "$round")
    if [[ $verdict == stop ]]; then
        break
    fi
done
always "${measured[@]}" -- "${comparison[@]}"

stage 6 "the best round on dev"
step "$exp" "${measured[@]}" -- "${comparison[@]}" --out "$exp"
