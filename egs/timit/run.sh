#!/usr/bin/env bash
# TIMIT phone recognition: from the corpus to a phone error rate on the core test set.
# Without --corpus it makes and uses a synthesised miniature of TIMIT.

# shellcheck source=utils/recipe.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

# What only this recipe has; ./run.sh --help shows all options.
size=mini
phone_set=48
ngram_order=2
labels=100
max_bad_ratio=0.05
text=unmatched
option size one-of:tiny,mini,small "size of the miniature: seconds, minutes or hours of work"
option phone_set one-of:61,48,39 "phones that the model predicts; errors are counted on 39"
option ngram_order int:1..6 "order of the phone language model"
option labels int:1..100 "percent of the transcripts that training uses; the language model reads all"
option max_bad_ratio float "fail if a greater part of the recordings is unusable"
option text one-of:matched,unmatched "wav2vec-u: its text, transcripts of the same audio in another order, or other sentences"
begin "$@"
lang=$data/lang
hmm=exp/hmm
export SPEECHKIT_CORPUS=TIMIT     # the name in RESULTS.md

stage 0 "data preparation"
if [[ -z $corpus ]]; then
    SPEECHKIT_CORPUS="TIMIT miniature ($size)"
    corpus=$data/corpus-$size
    step "$corpus" -- speechkit miniature --corpus timit --size "$size" --out "$corpus" --nj "$nj"
fi
step "$data/manifests" --files "$corpus" -- \
    speechkit prepare --corpus timit --in "$corpus" --out "$data/manifests" --nj "$nj"
step "$data/valid" --needs "$data/manifests" -- \
    speechkit validate --in "$data/manifests" --out "$data/valid" --max-bad-ratio "$max_bad_ratio" --nj "$nj"

if [[ $system == wav2vec-u ]]; then
    if given corpus || [[ $text == matched ]]; then
        unpaired_data "$text" phones
    else                          # the miniature's language has sentences that nobody reads: all audio is left to hear
        step "$data/further-text" -- \
            speechkit further-text --corpus timit --size "$size" --out "$data/further-text" --nj "$nj"
        unpaired_data audio phones "$data/further-text/phones.txt"
    fi
    # 1 and 2, from utils/unpaired.sh; silence stays, as in the paper, and is a phone like others
    unpaired_stages none --phones --phone-set 39 --score-silence
else
    stage 1 "features: 80-dim log-mel filter bank, CMVN statistics"
    step "$data/fbank" --needs "$data/valid" --needs conf/features.yaml -- \
        speechkit features --in "$data/valid" --out "$data/fbank" --config conf/features.yaml --nj "$nj"
    labelled_part

    stage 2 "language: phones, lexicon, n-gram model, decoding graph"
    step "$lang" --needs "$data/valid" -- \
        speechkit lang --cuts "$data/valid/cuts_train.jsonl.gz" --unit phone --phone-set "$phone_set" --out "$lang"
    language_models "$lang/lm_text.txt"

    alignment_stage               # 3, from utils/alignment.sh
fi

system_stages                     # 4 to 6, from utils/systems/<system>.sh

decoding_stages                   # 7 and 8, from utils/decoding.sh
finish
