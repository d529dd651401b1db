#!/usr/bin/env bash
# Connected digits from the Free Spoken Digit Dataset: from the recordings to a word error rate.
# Without --corpus it makes and uses a synthesised miniature; --corpus takes the folder of {digit}_{speaker}_{index}.wav.

# shellcheck source=utils/recipe.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

# What only this recipe has; ./run.sh --help shows all options.
size=mini
test_speakers=
ngram_order=2
max_bad_ratio=0.05
option size one-of:tiny,mini,small "size of the miniature: seconds, minutes or hours of work"
option test_speakers string "speakers held out for the test, as theo or theo,lucas (default: the official split)"
option ngram_order int:1..6 "order of the word language model"
option max_bad_ratio float "fail if a greater part of the recordings is unusable"
begin "$@"
fold=${test_speakers:-official}   # each choice of test speakers has its own data and experiments
fold=${fold//[^[:alnum:]]/-}
data=data/$fold
if ! given exp; then
    exp=exp/$system/$fold
fi
lang=$data/lang
lm=${lm:-$lang/lm.arpa}
split=()
if [[ -n $test_speakers ]]; then
    split=(--test-speakers "$test_speakers")
fi
export SPEECHKIT_CORPUS="FSDD, test on $fold"

stage 0 "data preparation: connected digits from single ones"
if [[ -z $corpus ]]; then
    SPEECHKIT_CORPUS="FSDD miniature ($size), test on $fold"
    corpus=data/corpus-$size
    step "$corpus" -- speechkit miniature --corpus digits --size "$size" --out "$corpus" --nj "$nj"
fi
step "$data/manifests" --files "$corpus" -- \
    speechkit prepare --corpus digits --in "$corpus" --out "$data/manifests" "${split[@]}" --nj "$nj"
step "$data/valid" --needs "$data/manifests" -- \
    speechkit validate --in "$data/manifests" --out "$data/valid" --max-bad-ratio "$max_bad_ratio" --nj "$nj"

stage 1 "features: 80-dim log-mel filter bank, CMVN statistics"
step "$data/fbank" --needs "$data/valid" --needs conf/features.yaml -- \
    speechkit features --in "$data/valid" --out "$data/fbank" --config conf/features.yaml --nj "$nj"

stage 2 "language: characters, lexicon, n-gram model"
step "$lang" --needs "$data/valid" -- \
    speechkit lang --cuts "$data/valid/cuts_train.jsonl.gz" --unit char --out "$lang"
step "$lang/lm.arpa" --needs "$lang/lm_text.txt" -- \
    speechkit ngram --text "$lang/lm_text.txt" --order "$ngram_order" --out "$lang/lm.arpa"

system_stages                     # 4 to 6, from utils/systems/<system>.sh

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
finish
