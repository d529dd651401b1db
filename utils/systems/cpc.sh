# shellcheck shell=bash disable=SC2154
# System cpc, stages 4 to 6: CPC is pre-trained on waveforms; its contexts c_t are probed linearly for phones and speakers,
# beside cepstra and the same model untrained, and are the features of the acoustic model.
# The recipe sets: unlabelled pretrained pretrain_config pretrain_overrides hmm nj seed, and what utils/training.sh wants

encoder=$pretrained/model/final
context=2                         # layer of c_t; layer 1 are the latents

# probe NAME WORDS...: how well phones and speakers are told from the frames that WORDS name.
probe() {
    local target words out inputs=(--needs "$hmm/ali")
    if [[ " $* " == *" --checkpoint "* ]]; then
        inputs+=(--needs "$encoder")
    fi
    for target in phone speaker; do
        out=$pretrained${data#data}/probe-$target-$1
        words=()
        if [[ $target == phone ]]; then
            words=(--test "$hmm/ali/cuts_dev_ali.jsonl.gz" "$hmm/ali/cuts_test_ali.jsonl.gz")
        fi
        step "$out" "${inputs[@]}" -- speechkit probe --target "$target" --train "$hmm/ali/cuts_train_ali.jsonl.gz" \
            "${words[@]}" "${@:2}" --out "$out" --nj "$nj" --seed "$seed"
    done
}

stage 4 "pre-training: CPC on waveforms without transcripts"
step "$pretrained/model" --needs "$unlabelled" --needs "$pretrain_config" --keep -- \
    speechkit pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" --data "$unlabelled" \
    --out "$pretrained/model" --seed "$seed"

stage 5 "contexts as features; linear classification of phones and speakers"
hidden_features "$encoder" "$context"
probe random --checkpoint "$encoder" --layer "$context" --random
probe mfcc --features mfcc
probe cpc --checkpoint "$encoder" --layer "$context"

training "training: CTC or LF-MMI on contexts"
