#!/usr/bin/env bash
# LibriSpeech, read audiobooks: from the corpus to a word error rate, also with Libri-light's little labelled data:
# --system wav2vec2 --labels 10min pre-trains on --pretrain-sets and fine-tunes on ten minutes.
# Without --corpus it makes and uses a synthesised miniature; --corpus takes the folder that holds LibriSpeech and, if
# wanted, librispeech_finetuning and librispeech-lm-norm.txt.gz.

# shellcheck source=utils/recipe.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

# What only this recipe has; ./run.sh --help shows all options.
size=mini
train_sets='train-clean-100'
dev_sets='dev-clean'
test_sets='test-clean'
lm_text=
labels=
pretrain_sets=train-clean-100
ngram_order=3
max_bad_ratio=0.05
text=unmatched
option size one-of:tiny,mini,small "size of the miniature: seconds, minutes or hours of work"
option train_sets string "training sets, as train-clean-100,train-clean-360 or 10h, 1h, 10min-0 to 10min-5 of Libri-light"
option dev_sets string "development sets, as dev-clean,dev-other"
option test_sets string "test sets, as test-other"
option labels one-of:10min,1h,10h,100h,960h "training sets by their length, in place of --train-sets"
option pretrain_sets string "sets whose audio systems with pre-training hear, as train-clean-100,train-clean-360"
option lm_text one-of:transcripts,corpus "text of the language model: training transcripts or librispeech-lm-norm.txt.gz (default: transcripts, with --labels corpus)"
option ngram_order int:1..6 "order of the word language model"
option max_bad_ratio float "fail if a greater part of the recordings is unusable"
option text one-of:matched,unmatched "wav2vec-u: its text, transcripts of the same audio in another order, or --lm-text corpus"
begin "$@"
if [[ -n $labels ]]; then
    if given train-sets; then
        usage_error "--labels and --train-sets choose the same: give one of them"
    fi
    declare -A sets_of=([10min]=10min-0 [1h]=1h [10h]=10h [100h]=train-clean-100
        [960h]='train-clean-100,train-clean-360,train-other-500')
    train_sets=${sets_of[$labels]}
    lm_text=${lm_text:-corpus}
fi
lm_text=${lm_text:-transcripts}
sets=$train_sets-$dev_sets-$test_sets     # each choice of sets has its own data and experiments
sets=${sets//[^[:alnum:]]/-}
data=data/$sets
if ! given exp; then
    exp=exp/$system$(seed_name)/$sets
fi
audio=$pretrain_sets-$dev_sets
audio=${audio//[^[:alnum:]]/-}
if ! given pretrained; then
    pretrained=$pretrained/$audio
fi
lang=$data/lang
hmm=exp/hmm/$sets
export SPEECHKIT_CORPUS="LibriSpeech, $train_sets, dev $dev_sets, test $test_sets"

stage 0 "data preparation"
if [[ -z $corpus ]]; then
    SPEECHKIT_CORPUS="LibriSpeech miniature ($size), $train_sets, dev $dev_sets, test $test_sets"
    corpus=data/corpus-$size
    step "$corpus" -- speechkit miniature --corpus librispeech --size "$size" --out "$corpus" --nj "$nj"
fi
step "$data/manifests" --files "$corpus" -- \
    speechkit prepare --corpus librispeech --in "$corpus" --out "$data/manifests" --train-sets "$train_sets" \
    --dev-sets "$dev_sets" --test-sets "$test_sets" --nj "$nj"
step "$data/valid" --needs "$data/manifests" -- \
    speechkit validate --in "$data/manifests" --out "$data/valid" --max-bad-ratio "$max_bad_ratio" --nj "$nj"
unlabelled=$data/valid
if [[ $system != fbank && $system != wav2vec-u && $pretrain_sets != "$train_sets" ]]; then
    unlabelled=data/audio-$audio/valid
    step "data/audio-$audio/manifests" --files "$corpus" -- \
        speechkit prepare --corpus librispeech --in "$corpus" --out "data/audio-$audio/manifests" \
        --train-sets "$pretrain_sets" --dev-sets "$dev_sets" --test-sets "$test_sets" --nj "$nj"
    step "$unlabelled" --needs "data/audio-$audio/manifests" -- \
        speechkit validate --in "data/audio-$audio/manifests" --out "$unlabelled" --max-bad-ratio "$max_bad_ratio" --nj "$nj"
fi

if [[ $system == wav2vec-u ]]; then
    if [[ $text == matched ]]; then
        unpaired_data matched text
    else
        unpaired_data audio text "$corpus/librispeech-lm-norm.txt.gz"
    fi
    unpaired_stages energy --espeak-voice en-us      # 1 and 2, from utils/unpaired.sh
else
    stage 1 "features: 80-dim log-mel filter bank, CMVN statistics"
    step "$data/fbank" --needs "$data/valid" --needs conf/features.yaml -- \
        speechkit features --in "$data/valid" --out "$data/fbank" --config conf/features.yaml --nj "$nj"
    take_features "$data/fbank"

    stage 2 "language: characters, n-gram model, decoding graph"
    lm_source=$lang/lm_text.txt words=()
    if [[ $lm_text == corpus ]]; then
        lm_source=$corpus/librispeech-lm-norm.txt.gz
        words=(--text "$lm_source")
    fi
    step "$lang" --needs "$data/valid" -- \
        speechkit lang --cuts "$data/valid/cuts_train.jsonl.gz" --unit char "${words[@]}" --out "$lang"
    language_models "$lm_source"

    alignment_stage                   # 3, from utils/alignment.sh
fi

system_stages                     # 4 to 6, from utils/systems/<system>.sh

decoding_stages                   # 7 and 8, from utils/decoding.sh
finish
