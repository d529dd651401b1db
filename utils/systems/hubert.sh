# shellcheck shell=bash disable=SC2154
# System hubert, stages 4 to 6: clusters of cepstra, then of its own hidden states, are what HuBERT predicts on masked
# waveforms; the last iteration is fine-tuned with CTC (or LF-MMI). --clusters has a number for each iteration.
# The recipe sets: unlabelled pretrained pretrain_config pretrain_overrides clusters cepstra layer nj seed, and what
# utils/training.sh wants

# hubert_iteration NUMBER CLUSTERS WORDS...: make labels as WORDS tell, and train on them.
hubert_iteration() {
    local labels=$pretrained/labels-$1 model=$pretrained/iteration-$1 count=$2
    shift 2
    step "$labels" --needs "$unlabelled" "${source_model[@]}" --keep -- \
        speechkit cluster --data "$unlabelled" --out "$labels" --set "kmeans.clusters=$count" "$@" --nj "$nj" --seed "$seed"
    step "$model" --needs "$unlabelled" --needs "$labels" --needs "$pretrain_config" --keep -- \
        speechkit pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" --data "$unlabelled" \
        --labels "$labels" --out "$model" --seed "$seed"
}

IFS=, read -r -a hubert_clusters <<<"$clusters"
source_model=()

stage 4 "first iteration: clusters of cepstra, pre-training"
hubert_words=()
if [[ $cepstra == normalised ]]; then
    hubert_words=(--normalise)
fi
hubert_iteration 1 "${hubert_clusters[0]}" "${hubert_words[@]}"

stage 5 "further iterations: clusters of hidden states, pre-training"
for ((iteration = 2; iteration <= ${#hubert_clusters[@]}; iteration++)); do
    source_model=(--needs "$pretrained/iteration-$((iteration - 1))")
    hubert_iteration "$iteration" "${hubert_clusters[iteration - 1]}" \
        --checkpoint "$pretrained/iteration-$((iteration - 1))/final" --layer "$layer"
done

training "fine-tuning: CTC or LF-MMI on waveforms" "$pretrained/iteration-${#hubert_clusters[@]}/final"
