#!/usr/bin/env bash
# Data of your own: a folder of recordings and their transcripts, to an error rate.
#   ./run.sh --audio DIR --text FILE
# DIR is searched with all folders below it; any format, sampling rate and number of channels will do. FILE has lines
# `id words ...`, an id being the path of a recording below DIR without its suffix, or it is a TSV or CSV file with
# columns such as file, text, speaker and split. Without --text, ID.txt or ID.lab lie beside the recordings.
# Without --audio it makes and uses synthesised spoken digits. Copy this folder to egs/NAME to begin a recipe.

# shellcheck source=utils/recipe.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

# What only this recipe has; ./run.sh --help shows all options.
size=mini
audio='' text=''
language=any
split_by=speaker
dev_share=0.1
test_share=0.1
unit=char
boundary=word
vocab_size=500
ngram_order=3
labels=100
max_bad_ratio=0.05
option size one-of:tiny,mini,small "size of the synthesised digits: seconds, minutes or hours of work"
option audio dir "folder of recordings"
option text path "transcripts: a file, or a folder of ID.txt or ID.lab (default: beside the recordings)"
option language one-of:any,en,zh "rules by which transcripts become words"
option split_by one-of:speaker,utterance "what no two of train, dev and test share"
option dev_share float "part of the utterances for development"
option test_share float "part of the utterances for the test"
option unit one-of:char,bpe,unigram,word "what the model predicts"
option boundary one-of:word,none "none: characters without word boundaries, scored by character, as for Mandarin"
option vocab_size int:2.. "number of tokens of the units bpe and unigram"
option ngram_order int:1..6 "order of the language model"
option labels int:1..100 "percent of the transcripts that training uses; the language model reads all"
option max_bad_ratio float "fail if a greater part of the recordings is unusable"
begin "$@"
lang=$data/lang
hmm=exp/hmm
audio=${audio:-$corpus}
export SPEECHKIT_CORPUS=${audio:+$(basename -- "$audio")}     # the name in RESULTS.md

stage 0 "data preparation: manifests, conversion to 16 kHz, division into train, dev and test"
if [[ -z $audio ]]; then
    SPEECHKIT_CORPUS="digits miniature ($size)"
    audio=$data/audio-$size text=$data/audio-$size.tsv
    step "$audio" -- speechkit miniature --corpus digits --size "$size" --out "$audio" --nj "$nj"
    step "$text" --needs "$audio" -- local/digits_table.sh "$audio" "$text"
fi
transcripts=() needed=()
if [[ -n $text ]]; then
    transcripts=(--text "$text") needed=(--needs "$text")
fi
step "$data/manifests" --files "$audio" "${needed[@]}" -- \
    speechkit prepare --audio "$audio" "${transcripts[@]}" --out "$data/manifests" --language "$language" \
    --split-by "$split_by" --dev-share "$dev_share" --test-share "$test_share" --nj "$nj"
step "$data/valid" --needs "$data/manifests" -- \
    speechkit validate --in "$data/manifests" --out "$data/valid" --max-bad-ratio "$max_bad_ratio" --nj "$nj"

stage 1 "features: 80-dim log-mel filter bank, CMVN statistics"
step "$data/fbank" --needs "$data/valid" --needs conf/features.yaml -- \
    speechkit features --in "$data/valid" --out "$data/fbank" --config conf/features.yaml --nj "$nj"
labelled_part

stage 2 "language: tokens, lexicon, n-gram model, decoding graph"
units=(--unit "$unit" --boundary "$boundary")
if [[ $unit == bpe || $unit == unigram ]]; then
    units+=(--vocab-size "$vocab_size")
fi
step "$lang" --needs "$data/valid" -- \
    speechkit lang --cuts "$data/valid/cuts_train.jsonl.gz" "${units[@]}" --out "$lang"
language_models "$lang/lm_text.txt"

alignment_stage                   # 3, from utils/alignment.sh

system_stages                     # 4 to 6, from utils/systems/<system>.sh

decoding_stages                   # 7 and 8, from utils/decoding.sh
finish
