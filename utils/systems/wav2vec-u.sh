# shellcheck shell=bash disable=SC2034,SC2154
# System wav2vec-u, stages 4 to 7: recognition without transcripts (Baevski et al. 2021). HuBERT, or the model of --ssl, is
# what hears; its hidden states are pooled into segments, from which generators learn to make phones that look like those
# of a text. The most plausible of --gans generators labels the audio for hidden Markov models, and these do for CTC.
# No transcript of the training set is read; those of dev and test count errors only.
# The recipe sets: unpaired unlabelled lang lm ssl ssl_layer gans config overrides pretrain_overrides exp seed nj, and what
# utils/hubert.sh and utils/training.sh want

voiced=$unpaired/voiced labelled_by_hmm=$exp/labels-hmm
given pretrained || pretrained=exp/wav2vec-u-hubert${unpaired#"$data/unpaired"}
given pretrain-config || pretrain_config=conf/hubert_pretrain.yaml
unlabelled=$voiced
# shellcheck source=utils/hubert.sh
. "$SPEECHKIT_ROOT/utils/hubert.sh"

# called NAME: what RESULTS.md calls the models that are trained from here on.
called() {
    export SPEECHKIT_SYSTEM="wav2vec-u $1"
}

# decode_sets MODEL FEATURES SET...: greedy decodings by a model of `speechkit gan` or `speechkit train`.
decode_sets() {
    local set
    for set in "${@:3}"; do
        step "$1/decode_${set}_greedy" --needs "$1/final" --needs "$2/cuts_$set.jsonl.gz" -- \
            speechkit decode --checkpoint "$1/final" --cuts "$2/cuts_$set.jsonl.gz" --method greedy \
            --out "$1/decode_${set}_greedy"
        if [[ $set != train ]]; then
            decodings+=("$1/decode_${set}_greedy")
        fi
    done
}

stage 4 "pre-training: HuBERT on the audio, or the model of --ssl"
if [[ -z $ssl ]]; then
    hubert_iterations 1 "$last_iteration"
    ssl=$pretrained/iteration-$last_iteration/final
fi

stage 5 "hidden states of layer $ssl_layer, pooled into segments"
hidden=$unpaired/hidden-$ssl_layer pooled=$unpaired/pooled-$ssl_layer
step "$hidden" --needs "$voiced" --needs "$ssl" -- \
    speechkit features --in "$voiced" --out "$hidden" --checkpoint "$ssl" --layer "$ssl_layer" --nj "$nj"
step "$pooled" --needs "$hidden" --needs conf/pool.yaml -- \
    speechkit pool --data "$hidden" --out "$pooled" --config conf/pool.yaml --nj "$nj" --seed "$seed"

stage 6 "$gans generators against discriminators, the most plausible of which is taken"
called GAN
runs=()
for ((gan_seed = seed; gan_seed < seed + gans; gan_seed++)); do
    runs+=("$exp/gan-$gan_seed")
    step "$exp/gan-$gan_seed" --needs "$pooled" --needs "$unpaired/text" --needs "$lm" --needs "$config" --keep -- \
        speechkit gan --config "$config" "${overrides[@]}" --data "$pooled" --text "$unpaired/text" --lm "$lm" \
        --out "$exp/gan-$gan_seed" --seed "$gan_seed"
done
step "$exp/gan" "${runs[@]/#/--needs=}" -- speechkit gan-select --runs "${runs[@]}" --out "$exp/gan"
