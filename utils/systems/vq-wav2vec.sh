# shellcheck shell=bash disable=SC2034,SC2154
# System vq-wav2vec, stages 4 to 6: vq-wav2vec is pre-trained on waveforms, BERT on its codes, whose outputs are the
# features of an acoustic model, trained with CTC (or LF-MMI). With --code-features context there is no BERT: features are
# the context vectors of quantised frames.
# The recipe sets: unlabelled pretrained pretrain_config pretrain_overrides code_features bert_config bert_overrides
# bert_layer nj seed, and what utils/training.sh wants

if [[ $code_features == context ]]; then
    SPEECHKIT_SYSTEM=vq-wav2vec-context
    given config || config=conf/vq-wav2vec_context.yaml
    given exp || exp=exp/vq-wav2vec-context$(part_name)
fi

stage 4 "pre-training: vq-wav2vec on waveforms without transcripts"
step "$pretrained" --needs "$unlabelled" --needs "$pretrain_config" --keep -- \
    speechkit pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" --data "$unlabelled" \
    --out "$pretrained" --seed "$seed"

if [[ $code_features == context ]]; then
    stage 5 "features: context vectors of quantised frames"
    hidden_features "$pretrained/final" 3
else
    stage 5 "codes, BERT over them, and its outputs as features"
    codes=$pretrained${data#data}/codes
    bert=$pretrained${data#data}/bert
    step "$codes" --needs "$data/valid" --needs "$pretrained/final" -- \
        speechkit codes --checkpoint "$pretrained/final" --data "$data/valid" --out "$codes" --nj "$nj"
    step "$bert" --needs "$codes" --needs "$bert_config" --keep -- \
        speechkit code-bert --config "$bert_config" "${bert_overrides[@]}" --labels "$codes" --out "$bert" --seed "$seed"
    hidden_features "$bert/final" "$bert_layer" "$codes"
fi

training "training: CTC or LF-MMI on features of codes"
