# shellcheck shell=bash disable=SC2034,SC2154
# Pre-training of HuBERT: clusters of cepstra, then of its own hidden states, are what it predicts on masked waveforms.
# Sets last_iteration, of as many as --clusters has numbers.
# The recipe sets: unlabelled pretrained pretrain_config pretrain_overrides clusters cepstra layer nj seed

IFS=, read -r -a hubert_clusters <<<"$clusters"
last_iteration=${#hubert_clusters[@]}

# hubert_iterations FIRST LAST: steps that make labels, and train on them.
hubert_iterations() {
    local number before words model
    for ((number = $1; number <= $2; number++)); do
        before=$pretrained/iteration-$((number - 1)) model=() words=()
        if ((number > 1)); then
            model=(--needs "$before") words=(--checkpoint "$before/final" --layer "$layer")
        elif [[ $cepstra == normalised ]]; then
            words=(--normalise)
        fi
        step "$pretrained/labels-$number" --needs "$unlabelled" "${model[@]}" --keep -- \
            speechkit cluster --data "$unlabelled" --out "$pretrained/labels-$number" \
            --set "kmeans.clusters=${hubert_clusters[number - 1]}" "${words[@]}" --nj "$nj" --seed "$seed"
        step "$pretrained/iteration-$number" --needs "$unlabelled" --needs "$pretrained/labels-$number" \
            --needs "$pretrain_config" --keep -- \
            speechkit pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" --data "$unlabelled" \
            --labels "$pretrained/labels-$number" --out "$pretrained/iteration-$number" --seed "$seed"
    done
}
