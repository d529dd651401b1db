# shellcheck shell=bash disable=SC2034,SC2154
# System bert-asr, stages 4 to 7: a text BERT learns the transcripts, then to predict each character from those before it
# (BERT-LM), then to hear its segment of the audio too (Huang et al. 2021). It is trained on the segments of stage 3 and
# recognises in those of --alignment: oracle (of stage 3, with the reference), linear (equal division), ctc (the best path
# of a CTC model) or cif (a learned predictor of boundaries).
# The recipe sets: encoder alignment bert data lang hmm features labelled pretrained bert_config bert_overrides exp
# config overrides seed, and what utils/training.sh wants

IFS=, read -r -a alignments <<<"$alignment"
for kind in "${alignments[@]}"; do
    check_choice alignment "$kind" oracle,linear,ctc,cif
done
given exp || exp=exp/bert-asr-$encoder$(if [[ $bert == random ]]; then echo -random; fi)$(part_name)
text_bert=$pretrained/bert
if [[ $bert != own && $bert != random ]]; then
    text_bert=$pretrained/imported
fi
bert_lm=$text_bert-lm
segments=$pretrained${data#data}/segments
spotter=$pretrained/ctc

stage 4 "BERT: masked words of the transcripts, or one that is there"
if [[ $bert == own || $bert == random ]]; then
    step "$text_bert" --needs "$lang/lm_text.txt" --needs "$data/valid/cuts_dev.jsonl.gz" --needs "$bert_config" --keep -- \
        speechkit bert --config "$bert_config" "${bert_overrides[@]}" --text "$lang/lm_text.txt" \
        --dev-cuts "$data/valid/cuts_dev.jsonl.gz" --out "$text_bert" --seed "$seed"
else
    step "$text_bert" --files "$bert" -- speechkit import --format bert --in "$bert" --out "$text_bert/final"
fi

stage 5 "BERT-LM: the next character; segments of characters"
step "$bert_lm" --needs "$text_bert" --needs "$lang/lm_text.txt" --needs conf/bert-lm.yaml --keep -- \
    speechkit bert --config conf/bert-lm.yaml --init "$text_bert/final" --text "$lang/lm_text.txt" \
    --dev-cuts "$data/valid/cuts_dev.jsonl.gz" --out "$bert_lm" --seed "$seed"
aligned=("$hmm/ali/cuts_train_ali.jsonl.gz" "$hmm/ali/cuts_dev_ali.jsonl.gz" "$hmm/ali/cuts_test_ali.jsonl.gz")
step "$segments/oracle" --needs "$hmm/ali" -- \
    speechkit segments --kind oracle --cuts "${aligned[@]}" --out "$segments/oracle"
for kind in "${alignments[@]}"; do
    words=() inputs=()
    case $kind in
        oracle) continue ;;
        linear) words=(--train-cuts "$labelled/cuts_train.jsonl.gz") inputs=(--needs "$labelled") ;;
        ctc)
            step "$spotter" --needs "$labelled" --needs "$lang" --needs "$hmm/ali" --needs conf/ctc-segments.yaml --keep -- \
                speechkit train --config conf/ctc-segments.yaml --data "$labelled" --lang "$lang" --out "$spotter" \
                --alignments "${aligned[0]}" --fsa-engine "$fsa_engine" --seed "$seed"
            words=(--checkpoint "$spotter/final") inputs=(--needs "$spotter")
            ;;
        cif)
            step "$pretrained/cif" --needs "$features" --needs "$segments/oracle" --needs conf/cif.yaml --keep -- \
                speechkit cif --config conf/cif.yaml --data "$features" --segments "$segments/oracle" \
                --out "$pretrained/cif" --seed "$seed"
            words=(--checkpoint "$pretrained/cif/final") inputs=(--needs "$pretrained/cif")
            ;;
    esac
    step "$segments/$kind" --needs "$features" --needs "$segments/oracle" "${inputs[@]}" -- \
        speechkit segments --kind "$kind" --cuts "$features/cuts_dev.jsonl.gz" "$features/cuts_test.jsonl.gz" \
        "${words[@]}" --reference "$segments/oracle" --out "$segments/$kind"
done

stage 6 "BERT-ASR: the next character from those before it and the audio"
start=(--bert "$bert_lm/final")
if [[ $bert == random ]]; then
    start+=(--random)
fi
step "$exp" --needs "$labelled" --needs "$bert_lm" --needs "$segments/oracle" --needs "$config" --keep -- \
    speechkit bert-asr --config "$config" --set "model.acoustic.encoder=$encoder" "${overrides[@]}" "${start[@]}" \
    --data "$labelled" --segments "$segments/oracle" --out "$exp" --seed "$seed"

stage 7 "decoding: beam search over characters, in segments of ${alignment//,/, }"
for kind in "${alignments[@]}"; do
    for set in dev test; do
        out=$exp/decode_${set}_$kind
        step "$out" --needs "$exp/final" --needs "$features/cuts_$set.jsonl.gz" --needs "$segments/$kind" -- \
            speechkit bert-decode --checkpoint "$exp/final" --cuts "$features/cuts_$set.jsonl.gz" \
            --segments "$segments/$kind/segments_$set.jsonl.gz" --alignment "$kind" --out "$out"
        decodings+=("$out")
    done
done
