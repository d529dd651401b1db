#!/usr/bin/env bash
# Connected digits from the Free Spoken Digit Dataset: from the recordings to a word error rate.
# Without --corpus it makes and uses a synthesised miniature; --corpus takes the folder of {digit}_{speaker}_{index}.wav.

# shellcheck source=utils/recipe.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

# What only this recipe has; ./run.sh --help shows all options.
size=mini
test_speakers=
ngram_order=2
train_passes=6
voices=espeak
labels=100
max_bad_ratio=0.05
option size one-of:tiny,mini,small "size of the miniature: seconds, minutes or hours of work"
option test_speakers string "speakers held out for the test, as theo or theo,lucas (default: the official split)"
option ngram_order int:1..6 "order of the word language model"
option train_passes int:1.. "how often the training recordings are joined anew, each time at other speeds"
option voices one-of:espeak,none "further speakers for the training: synthesised ones of many accents (none with the miniature)"
option labels int:1..100 "percent of the transcripts that training uses; the language model reads all"
option max_bad_ratio float "fail if a greater part of the recordings is unusable"
begin "$@"
fold=${test_speakers:-official}   # each choice of test speakers has its own data and experiments
fold=${fold//[^[:alnum:]]/-}
data=data/$fold
if ! given exp; then
    exp=$exp/$fold
fi
if ! given pretrained; then
    pretrained=$pretrained/$fold
fi
lang=$data/lang
hmm=exp/hmm/$fold
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
    given voices || voices=none
fi
joining=() join=()
if [[ $voices == espeak ]]; then
    step data/voices -- speechkit miniature --corpus digits --size voices --out data/voices --nj "$nj"
    joining=(--needs data/voices) join=(--voices data/voices)
fi
step "$data/manifests" --files "$corpus" "${joining[@]}" -- \
    speechkit prepare --corpus digits --in "$corpus" --out "$data/manifests" "${split[@]}" "${join[@]}" \
    --train-passes "$train_passes" --nj "$nj"
step "$data/valid" --needs "$data/manifests" -- \
    speechkit validate --in "$data/manifests" --out "$data/valid" --max-bad-ratio "$max_bad_ratio" --nj "$nj"

stage 1 "features: 80-dim log-mel filter bank, CMVN statistics"
step "$data/fbank" --needs "$data/valid" --needs conf/features.yaml -- \
    speechkit features --in "$data/valid" --out "$data/fbank" --config conf/features.yaml --nj "$nj"
labelled_part

stage 2 "language: phones, lexicon of the ten words, n-gram model, decoding graph"
step "$lang" --needs "$data/valid" --needs local/lexicon.txt -- \
    speechkit lang --cuts "$data/valid/cuts_train.jsonl.gz" --unit phone --lexicon local/lexicon.txt --out "$lang"
language_models "$lang/lm_text.txt"

alignment_stage                   # 3, from utils/alignment.sh

system_stages                     # 4 to 6, from utils/systems/<system>.sh

decoding_stages                   # 7 and 8, from utils/decoding.sh
finish
