# shellcheck shell=bash disable=SC2154
# Stages 7 and 8, the same for every corpus: decode dev and test, count errors, write RESULTS.md. A system that decodes
# in another way has done so in stage 7 and set decodings to the folders.
# The recipe sets: features lang lm lm_name exp decode rescore results fsa_engine nj

# decode_recogniser: greedily, and with the language model.
decode_recogniser() {
    stage 7 "decoding: greedily, and with the language model, its weights tuned on dev"
    if [[ $decode == greedy || $decode == both ]]; then
        for set in dev test; do
            out=$exp/decode_${set}_greedy
            step "$out" --needs "$exp/final" --needs "$features/cuts_$set.jsonl.gz" -- \
                speechkit decode --checkpoint "$exp/final" --cuts "$features/cuts_$set.jsonl.gz" --method greedy --out "$out"
            decodings+=("$out")
        done
    fi
    if [[ $decode != greedy ]]; then
        language_model_search
        name=$method${lm_name:+_$lm_name}
        dev=$exp/decode_dev_$name
        step "$dev" --needs "$exp/final" --needs "$features/cuts_dev.jsonl.gz" --needs "${model[1]}" -- \
            speechkit decode --checkpoint "$exp/final" --cuts "$features/cuts_dev.jsonl.gz" --out "$dev" \
            --method "$method" "${model[@]}" --sweep --nj "$nj"
        out=$exp/decode_test_$name
        step "$out" --needs "$exp/final" --needs "$features/cuts_test.jsonl.gz" --needs "${model[1]}" \
            --needs "$dev/weights.json" -- \
            speechkit decode --checkpoint "$exp/final" --cuts "$features/cuts_test.jsonl.gz" --out "$out" \
            --method "$method" "${model[@]}" --weights "$dev/weights.json" --nj "$nj"
        decodings+=("$dev" "$out")
    fi
    if [[ $rescore == transformer ]]; then
        neural=$lang/lm_transformer/final
        weights=$dev/weights.json     # of the search; those of the choice among its hypotheses are tuned here, on dev
        for set in dev test; do
            out=$exp/decode_${set}_${name}_rescored
            tuning=()
            if [[ $set == dev ]]; then
                tuning=(--sweep)
            fi
            step "$out" --needs "$exp/final" --needs "$features/cuts_$set.jsonl.gz" --needs "${model[1]}" \
                --needs "$neural" --needs "$weights" -- \
                speechkit decode --checkpoint "$exp/final" --cuts "$features/cuts_$set.jsonl.gz" --out "$out" \
                --method "$method" "${model[@]:0:2}" --weights "$weights" --rescore-lm "$neural" "${tuning[@]}" --nj "$nj"
            weights=$exp/decode_dev_${name}_rescored/weights.json
            decodings+=("$out")
        done
    fi
}

if ((${#decodings[@]} == 0)); then
    decode_recogniser
fi

stage 8 "scoring and RESULTS.md"
for out in "${decodings[@]}"; do
    always --needs "$out" -- speechkit score --dir "$out" --lang "$lang"
done
always -- speechkit results --exp "$exp" --papers conf/papers.yaml --out "$results"
