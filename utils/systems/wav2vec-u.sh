# shellcheck shell=bash disable=SC2034,SC2154
# System wav2vec-u, stages 4 to 7: recognition without transcripts (Baevski et al. 2021). HuBERT, or the model of --ssl, is
# what hears; its hidden states are pooled into segments, from which generators learn to make phones that look like those
# of a text. The most plausible of --gans generators labels the audio for hidden Markov models, these do so for CTC.
# No transcript of the training set is read; those of dev and test count errors only.
# The recipe sets: text unpaired field lang lm word_lang word_lm ssl ssl_layer pool_config gans config overrides
# ctc_overrides exp fsa_engine seed nj, and what utils/hubert.sh wants

readonly FLOOR=0.2                # of unsup-select: a share of changed labels below which there is no merit in fewer
readonly WORD_LM_WEIGHT=2         # not tuned: there are no transcripts
voiced=$unpaired/voiced
# Linear probes for phones find most in these layers: of the miniature HuBERT here, of wav2vec 2.0 LARGE in the paper.
given ssl-layer || ssl_layer=$(if [[ -z $ssl ]]; then echo 2; else echo 15; fi)
given exp || exp=exp/wav2vec-u-$text$(seed_name)${data#data}
given pretrained || pretrained=exp/wav2vec-u-hubert-$text$(seed_name)${data#data}
given pretrain-config || pretrain_config=conf/hubert_pretrain.yaml
unlabelled=$voiced
# shellcheck source=utils/hubert.sh
. "$SPEECHKIT_ROOT/utils/hubert.sh"

# called NAME: what RESULTS.md calls the models that are trained from here on.
called() {
    export SPEECHKIT_SYSTEM="wav2vec-u $1"
}

# scored DECODING...: of which errors are counted: of all, if transcripts have phones, else of words.
scored() {
    if [[ -z $word_lang ]]; then
        decodings+=("$@")
    fi
}

# decode_greedily MODEL FEATURES: decodings of dev and test by a checkpoint, without a language model.
decode_greedily() {
    local set
    for set in dev test; do
        step "$1/decode_${set}_greedy" --needs "$1/final" --needs "$2/cuts_$set.jsonl.gz" -- \
            speechkit decode --checkpoint "$1/final" --cuts "$2/cuts_$set.jsonl.gz" --method greedy \
            --out "$1/decode_${set}_greedy"
        scored "$1/decode_${set}_greedy"
    done
}

# decode_with_lm MODEL FEATURES LABELS: decodings of dev and test by the command in decoder, on MODEL/graph. The weights of the
# language model are chosen on dev without its transcripts, by perplexity and by nearness to LABELS.
decode_with_lm() {
    local weight score set out tried=() inputs=()
    for weight in 1 2 4; do
        for score in 0 3; do
            out=$1/try_dev_${weight}_$score
            step "$out" --needs "$1/final" --needs "$1/graph" --needs "$2/cuts_dev.jsonl.gz" -- \
                "${decoder[@]}" --graph "$1/graph" --nj "$nj" --cuts "$2/cuts_dev.jsonl.gz" --lm-weight "$weight" \
                --word-score "$score" --out "$out"
            tried+=("$out") inputs+=(--needs "$out")
        done
    done
    step "$1/weights" "${inputs[@]}" --needs "$3" --needs "$lm" -- speechkit unsup-select \
        --decodings "${tried[@]}" --labels "$3/hyp.txt" --lm "$lm" --floor "$FLOOR" --out "$1/weights"
    for set in dev test; do
        decode_as_chosen "$1" "$2" "$set"
        scored "$1/decode_${set}_wfst"
    done
}

# decode_as_chosen MODEL FEATURES SET: one decoding with these weights.
decode_as_chosen() {
    local out=$1/decode_$3_wfst
    step "$out" --needs "$1/final" --needs "$1/graph" --needs "$1/weights" --needs "$2/cuts_$3.jsonl.gz" -- \
        "${decoder[@]}" --graph "$1/graph" --nj "$nj" --cuts "$2/cuts_$3.jsonl.gz" --weights "$1/weights/weights.json" \
        --out "$out"
}

# labels_of MODEL FEATURES OUT CUTS: steps that give training and development set in CUTS what MODEL hears as transcripts.
labels_of() {
    decode_as_chosen "$1" "$2" train
    step "$3" --needs "$4" --needs "$1/decode_train_wfst" --needs "$1/decode_dev_wfst" -- \
        speechkit relabel --cuts "$4/cuts_train.jsonl.gz" "$4/cuts_dev.jsonl.gz" --field "$field" \
        --hyp "$1/decode_train_wfst/hyp.txt" "$1/decode_dev_wfst/hyp.txt" --out "$3"
}

# decode_words MODEL FEATURES WORDS...: decodings of dev and test into words on a graph that `speechkit graph` makes with WORDS.
decode_words() {
    local set
    step "$1/word_graph" --needs "$1/final" --needs "$word_lang" --needs "$word_lm" -- \
        speechkit graph --lang "$word_lang" --lm "$word_lm" --out "$1/word_graph" "${@:3}"
    for set in dev test; do
        step "$1/decode_${set}_words" --needs "$1/final" --needs "$1/word_graph" --needs "$2/cuts_$set.jsonl.gz" -- \
            "${decoder[@]}" --graph "$1/word_graph" --nj "$nj" --cuts "$2/cuts_$set.jsonl.gz" --lm-weight "$WORD_LM_WEIGHT" \
            --out "$1/decode_${set}_words"
        decodings+=("$1/decode_${set}_words")
    done
}

stage 4 "pre-training: HuBERT on the audio, or the model of --ssl; its layer $ssl_layer pooled into segments"
if [[ -z $ssl ]]; then
    hubert_iterations 1 "$last_iteration"
    ssl=$pretrained/iteration-$last_iteration/final
fi
hidden=$unpaired/hidden-$ssl_layer pooled=$unpaired/pooled-$ssl_layer
step "$hidden" --needs "$voiced" --needs "$ssl" -- \
    speechkit features --in "$voiced" --out "$hidden" --checkpoint "$ssl" --layer "$ssl_layer" --nj "$nj"
step "$pooled" --needs "$hidden" --needs "$pool_config" -- \
    speechkit pool --data "$hidden" --out "$pooled" --config "$pool_config" --nj "$nj" --seed "$seed"

stage 5 "generators against discriminators, $gans of them, the most plausible of which is taken"
called GAN
runs=() inputs=()
for ((gan_seed = seed; gan_seed < seed + gans; gan_seed++)); do
    run=$exp/gan-$gan_seed
    step "$run" --needs "$pooled" --needs "$unpaired/text" --needs "$lm" --needs "$config" --keep -- \
        speechkit gan --config "$config" "${overrides[@]}" --data "$pooled" --text "$unpaired/text" --lm "$lm" \
        --out "$run" --seed "$gan_seed"
    runs+=("$run") inputs+=(--needs "$run")
done
gan=$exp/gan
step "$gan" "${inputs[@]}" -- speechkit gan-select --runs "${runs[@]}" --out "$gan"

stage 6 "self-training: hidden Markov models on labels of the generator, CTC on theirs"
decoder=(speechkit decode --checkpoint "$gan/final" --method wfst)
decode_greedily "$gan" "$pooled"
step "$gan/graph" --needs "$lang" --needs "$lm" -- speechkit graph --lang "$lang" --lm "$lm" --out "$gan/graph"
decode_with_lm "$gan" "$pooled" "$gan/decode_dev_greedy"
labels_of "$gan" "$pooled" "$exp/labels-gan" "$hidden"
[[ -z $word_lang ]] || decode_words "$gan" "$pooled"

called HMM
hmm=$exp/hmm decoder=(speechkit hmm-decode --model "$exp/hmm/final" --lang "$lang")
step "$hmm" --needs "$exp/labels-gan" --needs "$lang" --needs conf/wav2vec-u_hmm.yaml --keep -- \
    speechkit hmm --config conf/wav2vec-u_hmm.yaml --data "$exp/labels-gan" --lang "$lang" --out "$hmm" \
    --fsa-engine "$fsa_engine" --seed "$seed"
step "$hmm/graph" --needs "$hmm/final" --needs "$lang" --needs "$lm" -- \
    speechkit graph --lang "$lang" --hmm "$hmm/final" --lm "$lm" --out "$hmm/graph"
decode_with_lm "$hmm" "$hidden" "$gan/decode_dev_wfst"
labels_of "$hmm" "$hidden" "$exp/labels-hmm" "$voiced"
[[ -z $word_lang ]] || decode_words "$hmm" "$hidden" --hmm "$hmm/final"

called CTC
ctc=$exp/ctc decoder=(speechkit decode --checkpoint "$exp/ctc/final" --method wfst)
step "$ctc" --needs "$exp/labels-hmm" --needs "$lang" --needs "$ssl" --needs conf/wav2vec-u_ctc.yaml --keep -- \
    speechkit train --config conf/wav2vec-u_ctc.yaml "${ctc_overrides[@]}" --data "$exp/labels-hmm" --lang "$lang" \
    --init "$ssl" --out "$ctc" --fsa-engine "$fsa_engine" --seed "$seed"

stage 7 "decoding: all generators greedily, and what was learned from one of them"
for run in "${runs[@]}"; do
    decode_greedily "$run" "$pooled"
done
decode_greedily "$ctc" "$voiced"
step "$ctc/graph" --needs "$lang" --needs "$lm" -- speechkit graph --lang "$lang" --lm "$lm" --out "$ctc/graph"
decode_with_lm "$ctc" "$voiced" "$hmm/decode_dev_wfst"
if [[ -n $word_lang ]]; then
    decode_words "$ctc" "$voiced"
    lang=$word_lang               # that of the words that are scored
fi
