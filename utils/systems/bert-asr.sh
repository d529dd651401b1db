# shellcheck shell=bash disable=SC2034,SC2154
# System bert-asr, stages 4 to 7: a BERT learns from text, then to predict each character of the transcripts from those before it
# (BERT-LM), then to hear its segment of the audio too (Huang et al. 2021). It is trained on the segments of stage 3 and
# recognises in those of --alignment: oracle (of stage 3, with the reference), linear (equal division), ctc (the best path
# of a CTC model), cif (a learned predictor of boundaries) or hmm (what stage 3's models recognise themselves). With --ssl
# it hears a layer of a pre-trained model in place of log-mel and pitch.
# The recipe sets: encoder alignment bert bert_text ssl ssl_layer data lang hmm features labelled pretrained bert_config
# bert_overrides exp config overrides seed nj, and what utils/training.sh wants

IFS=, read -r -a alignments <<<"$alignment"
if [[ -n $ssl ]]; then
    given config || config=conf/bert-asr_ssl.yaml
    SPEECHKIT_SYSTEM="bert-asr ssl"
fi
given exp || exp=exp/bert-asr-$encoder${ssl:+-ssl}$(if [[ $bert == random ]]; then echo -random; fi)$(part_name)
text_bert=$pretrained/bert
if [[ $bert != own && $bert != random ]]; then
    text_bert=$pretrained/imported
fi
bert_lm=$text_bert-lm
segments=$pretrained${data#data}/segments
spotter=$pretrained/ctc

# hmm_alignment OUT: steps that recognise dev and test by the hidden Markov models and the n-gram, and align what they heard.
hmm_alignment() {
    local set sets=("$features/cuts_dev.jsonl.gz" "$features/cuts_test.jsonl.gz")
    step "$1/graph" --needs "$hmm/model" --needs "$lang/lm.arpa" -- \
        speechkit graph --lang "$lang" --hmm "$hmm/model/final" --lm "$lang/lm.arpa" --out "$1/graph"
    for set in dev test; do
        step "$1/decode_$set" --needs "$hmm/model" --needs "$1/graph" --needs "$features/cuts_$set.jsonl.gz" -- \
            speechkit hmm-decode --model "$hmm/model/final" --graph "$1/graph" --lang "$lang" --out "$1/decode_$set" \
            --cuts "$features/cuts_$set.jsonl.gz" --nj "$nj"
    done
    step "$1/heard" --needs "$features" --needs "$1/decode_dev" --needs "$1/decode_test" -- \
        speechkit relabel --cuts "${sets[@]}" --hyp "$1/decode_dev/hyp.txt" "$1/decode_test/hyp.txt" --out "$1/heard"
    step "$1/ali" --needs "$hmm/model" --needs "$1/heard" -- \
        speechkit align --model "$hmm/model/final" --out "$1/ali" --fsa-engine "$fsa_engine" \
        --cuts "${sets[@]/#"$features"/"$1/heard"}"
}

stage 4 "BERT: masked words of a text, or one that is there"
if [[ $bert == own || $bert == random ]]; then
    step "$text_bert" --needs "$bert_text" --needs "$data/valid/cuts_dev.jsonl.gz" --needs "$bert_config" --keep -- \
        speechkit bert --config "$bert_config" "${bert_overrides[@]}" --text "$bert_text" \
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
    words=(--kind "$kind") inputs=(--needs "$features") cuts=("$features/cuts_dev.jsonl.gz" "$features/cuts_test.jsonl.gz")
    case $kind in
        oracle) continue ;;
        hmm)
            hmm_alignment "$pretrained/hmm"
            # An alignment that needs no reference is read as that of the reference is.
            words=(--kind oracle) inputs=(--needs "$pretrained/hmm/ali")
            cuts=("$pretrained/hmm/ali/cuts_dev_ali.jsonl.gz" "$pretrained/hmm/ali/cuts_test_ali.jsonl.gz")
            ;;
        linear) words+=(--train-cuts "$labelled/cuts_train.jsonl.gz") inputs+=(--needs "$labelled") ;;
        ctc)
            step "$spotter" --needs "$labelled" --needs "$lang" --needs "$hmm/ali" --needs conf/ctc-segments.yaml --keep -- \
                speechkit train --config conf/ctc-segments.yaml --data "$labelled" --lang "$lang" --out "$spotter" \
                --alignments "${aligned[0]}" --fsa-engine "$fsa_engine" --seed "$seed"
            words+=(--checkpoint "$spotter/final") inputs+=(--needs "$spotter")
            ;;
        cif)
            step "$pretrained/cif" --needs "$features" --needs "$segments/oracle" --needs conf/cif.yaml --keep -- \
                speechkit cif --config conf/cif.yaml --data "$features" --segments "$segments/oracle" \
                --out "$pretrained/cif" --seed "$seed"
            words+=(--checkpoint "$pretrained/cif/final") inputs+=(--needs "$pretrained/cif")
            ;;
    esac
    step "$segments/$kind" "${inputs[@]}" --needs "$segments/oracle" -- \
        speechkit segments "${words[@]}" --cuts "${cuts[@]}" --reference "$segments/oracle" --out "$segments/$kind"
done
if [[ -n $ssl ]]; then
    hidden_features "$ssl" "$ssl_layer"
fi

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
