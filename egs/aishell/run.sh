#!/usr/bin/env bash
# AISHELL-1, Mandarin read speech: from the corpus to a character error rate.
# Without --corpus it makes and uses a synthesised miniature; --corpus takes the folder that holds data_aishell and
# resource_aishell.

# shellcheck source=utils/recipe.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

# What only this recipe has; ./run.sh --help shows all options.
size=mini
ngram_order=3
labels=100
max_bad_ratio=0.05
# shellcheck disable=SC2034         # utils/systems/bert-asr.sh reads them
encoder=conv1d-resnet alignment=oracle,linear bert=own bert_text=''
option size one-of:tiny,mini,small "size of the miniature: seconds, minutes or hours of work"
option ngram_order int:1..6 "order of the character language model"
option labels int:1..100 "percent of the transcripts that training uses; the language model reads all"
option encoder one-of:average,conv1d-resnet "bert-asr: what hears a character"
option alignment some-of:oracle,linear,ctc,cif,hmm "bert-asr: where characters lie at recognition"
option bert dir-or:own,random "bert-asr: what it begins with, a BERT of --bert-text, its sizes alone, or a Hugging Face BERT"
option bert_text file "bert-asr: text that BERT is pre-trained on, a sentence a line (default: the transcripts)"
option max_bad_ratio float "fail if a greater part of the recordings is unusable"
begin "$@"
if given bert-text && [[ $bert != own && $bert != random ]]; then
    usage_error "--bert-text is for --bert own or random: the BERT in $bert has its text behind it"
fi
lang=$data/lang
hmm=exp/hmm
export SPEECHKIT_CORPUS=AISHELL-1     # the name in RESULTS.md

stage 0 "data preparation"
if [[ -z $corpus ]]; then
    SPEECHKIT_CORPUS="AISHELL-1 miniature ($size)"
    corpus=$data/corpus-$size
    step "$corpus" -- speechkit miniature --corpus aishell --size "$size" --out "$corpus" --nj "$nj"
fi
step "$data/manifests" --files "$corpus" -- \
    speechkit prepare --corpus aishell --in "$corpus" --out "$data/manifests" --nj "$nj"
step "$data/valid" --needs "$data/manifests" -- \
    speechkit validate --in "$data/manifests" --out "$data/valid" --max-bad-ratio "$max_bad_ratio" --nj "$nj"

stage 1 "features: 80-dim log-mel filter bank and pitch, CMVN statistics"
step "$data/fbank" --needs "$data/valid" --needs conf/features.yaml -- \
    speechkit features --in "$data/valid" --out "$data/fbank" --config conf/features.yaml --nj "$nj"
labelled_part

stage 2 "language: characters, n-gram model, decoding graph"
step "$lang" --needs "$data/valid" -- \
    speechkit lang --cuts "$data/valid/cuts_train.jsonl.gz" --unit char --boundary none --out "$lang"
language_models "$lang/lm_text.txt"
bert_text=${bert_text:-$lang/lm_text.txt}

alignment_stage                   # 3, from utils/alignment.sh

system_stages                     # 4 to 6, from utils/systems/<system>.sh

decoding_stages                   # 7 and 8, from utils/decoding.sh
finish
