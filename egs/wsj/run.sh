#!/usr/bin/env bash
# WSJ, read newspaper sentences: from the discs to a word error rate.
# Without --corpus it makes and uses a synthesised miniature; --corpus takes the folder that holds the discs of LDC93S6A
# and LDC94S13A (11-1.1 to 13-34.1, at any depth).

# shellcheck source=utils/recipe.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

# What only this recipe has; ./run.sh --help shows all options.
size=mini
train_set=si284
dev_set=dev93
test_set=eval92
verbalised=keep
lm_text=transcripts
ngram_order=3
repetitions=0
labels=100
max_bad_ratio=0.05
option size one-of:tiny,mini,small "size of the miniature: seconds, minutes or hours of work"
option train_set one-of:si84,si284 "training set: 84 or 284 speakers"
option dev_set one-of:dev93,dev93-5k,eval92,eval92-5k,eval93,eval93-5k "development set"
option test_set one-of:dev93,dev93-5k,eval92,eval92-5k,eval93,eval93-5k "test set"
option verbalised one-of:keep,drop "training utterances in which punctuation is spoken"
option lm_text one-of:transcripts,corpus "text of the language model: training transcripts or the corpus's newspaper text"
option ngram_order int:1..6 "order of the word language model"
option repetitions int:0..2 "symbols for repeated letters, as in \"an1\": 2 make the 31 graphemes of wav2vec"
option labels int:1..100 "percent of the transcripts that training uses; the language model reads all"
option max_bad_ratio float "fail if a greater part of the recordings is unusable"
begin "$@"
sets=$train_set-$dev_set-$test_set-$verbalised     # each choice of sets has its own data and experiments
if ((repetitions > 0)); then
    sets+=-repetitions$repetitions
fi
data=data/$sets
if ! given exp; then
    exp=$exp/$sets
fi
if ! given pretrained; then
    pretrained=$pretrained/$sets
fi
lang=$data/lang
hmm=exp/hmm/$sets
export SPEECHKIT_CORPUS="WSJ, $train_set, dev $dev_set, test $test_set"

stage 0 "data preparation"
if [[ -z $corpus ]]; then
    SPEECHKIT_CORPUS="WSJ miniature ($size), $train_set, dev $dev_set, test $test_set"
    corpus=data/corpus-$size
    step "$corpus" -- speechkit miniature --corpus wsj --size "$size" --out "$corpus" --nj "$nj"
fi
step "$data/manifests" --files "$corpus" -- \
    speechkit prepare --corpus wsj --in "$corpus" --out "$data/manifests" --train-sets "$train_set" \
    --dev-sets "$dev_set" --test-sets "$test_set" --verbalised "$verbalised" --nj "$nj"
step "$data/valid" --needs "$data/manifests" -- \
    speechkit validate --in "$data/manifests" --out "$data/valid" --max-bad-ratio "$max_bad_ratio" --nj "$nj"

stage 1 "features: 80-dim log-mel filter bank, CMVN statistics"
step "$data/fbank" --needs "$data/valid" --needs conf/features.yaml -- \
    speechkit features --in "$data/valid" --out "$data/fbank" --config conf/features.yaml --nj "$nj"
labelled_part

stage 2 "language: characters, n-gram model, decoding graph"
step "$lang" --needs "$data/valid" -- \
    speechkit lang --cuts "$data/valid/cuts_train.jsonl.gz" --unit char \
    --repetitions "$repetitions" --out "$lang"
text=$lang/lm_text.txt
if [[ $lm_text == corpus ]]; then
    text=$data/manifests/lm_text.txt.gz
fi
language_models "$text"

alignment_stage                   # 3, from utils/alignment.sh

system_stages                     # 4 to 6, from utils/systems/<system>.sh

decoding_stages                   # 7 and 8, from utils/decoding.sh
finish
