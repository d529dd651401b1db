# shellcheck shell=bash disable=SC2154
# Stages 7 and 8, the same for every corpus and system: decode dev and test, count errors, write RESULTS.md.
# The recipe sets: data lang lm exp decode nj

stage 7 "decoding: greedy, and beam search with weights tuned on dev"
decodings=()
if [[ $decode != beam ]]; then
    for set in dev test; do
        out=$exp/decode_${set}_greedy
        step "$out" --needs "$exp/final" --needs "$data/fbank/cuts_$set.jsonl.gz" -- \
            speechkit decode --checkpoint "$exp/final" --cuts "$data/fbank/cuts_$set.jsonl.gz" --method greedy --out "$out"
        decodings+=("$out")
    done
fi
if [[ $decode != greedy ]]; then
    step "$exp/decode_dev" --needs "$exp/final" --needs "$data/fbank/cuts_dev.jsonl.gz" --needs "$lm" -- \
        speechkit decode --checkpoint "$exp/final" --cuts "$data/fbank/cuts_dev.jsonl.gz" --out "$exp/decode_dev" \
        --method beam --lm "$lm" --sweep --nj "$nj"
    weights=$exp/decode_dev/weights.json
    step "$exp/decode_test" --needs "$exp/final" --needs "$data/fbank/cuts_test.jsonl.gz" --needs "$lm" --needs "$weights" -- \
        speechkit decode --checkpoint "$exp/final" --cuts "$data/fbank/cuts_test.jsonl.gz" --out "$exp/decode_test" \
        --method beam --lm "$lm" --weights "$weights" --nj "$nj"
    decodings+=("$exp/decode_dev" "$exp/decode_test")
fi

stage 8 "scoring and RESULTS.md"
for out in "${decodings[@]}"; do
    always --needs "$out" -- speechkit score --dir "$out" --lang "$lang"
done
always -- speechkit results --exp "$exp" --papers conf/papers.yaml --out RESULTS.md
