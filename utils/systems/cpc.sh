# shellcheck shell=bash disable=SC2154
# System cpc, stages 4 to 6: CPC is pre-trained on waveforms; its contexts c_t are probed linearly for phones and speakers,
# beside cepstra, the same model untrained and the same model trained with phone labels, and are the features of the
# acoustic model.
# The recipe sets: unlabelled pretrained pretrain_config pretrain_overrides hmm nj seed, and what utils/training.sh wants

encoder=$pretrained/model/final
context=2                         # layer of c_t; layer 1 are the latents

supervised=$pretrained${data#data}/supervised

# probe TARGETS NAME [MODEL WORDS...]: how well phones or speakers are told from contexts of MODEL, or from cepstra.
probe() {
    local target words out name=$2 inputs=(--needs "$hmm/ali") source=(--features mfcc)
    if (($# > 2)); then
        inputs+=(--needs "$3") source=(--checkpoint "$3" --layer "$context" "${@:4}")
    fi
    for target in $1; do
        out=$pretrained${data#data}/probe-$target-$name
        words=()
        if [[ $target == phone ]]; then
            words=(--test "$hmm/ali/cuts_dev_ali.jsonl.gz" "$hmm/ali/cuts_test_ali.jsonl.gz")
        fi
        step "$out" "${inputs[@]}" -- speechkit probe --target "$target" --train "$hmm/ali/cuts_train_ali.jsonl.gz" \
            "${words[@]}" "${source[@]}" --out "$out" --nj "$nj" --seed "$seed"
    done
}

stage 4 "pre-training: CPC on waveforms without transcripts"
step "$pretrained/model" --needs "$unlabelled" --needs "$pretrain_config" --keep -- \
    speechkit pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" --data "$unlabelled" \
    --out "$pretrained/model" --seed "$seed"

stage 5 "contexts as features; linear classification of phones and speakers"
hidden_features "$encoder" "$context"
step "$supervised" --needs "$unlabelled" --needs "$hmm/ali" --needs conf/cpc_supervised.yaml --keep -- \
    speechkit pretrain --config conf/cpc_supervised.yaml --data "$unlabelled" --labels "$hmm/ali/labels_{}_100hz" \
    --out "$supervised" --seed "$seed"
probe "phone speaker" random "$encoder" --random
probe "phone speaker" mfcc
probe "phone speaker" cpc "$encoder"
probe phone supervised "$supervised/final"

training "training: CTC or LF-MMI on contexts"
