# shellcheck shell=bash disable=SC2154
# Stage 3, the same for every corpus: train hidden Markov models, align all sets, compare with true times where there are any.
# The recipe sets: data lang hmm fsa_engine

stage 3 "hidden Markov models and forced alignment"
step "$hmm/model" --needs "$data/fbank" --needs "$lang" --needs conf/features.yaml -- \
    speechkit hmm --data "$data/fbank" --lang "$lang" --features conf/features.yaml --out "$hmm/model" \
    --fsa-engine "$fsa_engine"
step "$hmm/ali" --needs "$hmm/model" --needs "$data/fbank" -- \
    speechkit align --model "$hmm/model/final" --out "$hmm/ali" --fsa-engine "$fsa_engine" \
    --cuts "$data/fbank/cuts_train.jsonl.gz" "$data/fbank/cuts_dev.jsonl.gz" "$data/fbank/cuts_test.jsonl.gz"
always --needs "$hmm/ali" --needs "$data/fbank" -- speechkit boundaries --lang "$lang" --out "$hmm/boundaries.json" \
    --reference "$data/fbank/cuts_train.jsonl.gz" "$data/fbank/cuts_dev.jsonl.gz" "$data/fbank/cuts_test.jsonl.gz" \
    --hypothesis "$hmm/ali/cuts_train_ali.jsonl.gz" "$hmm/ali/cuts_dev_ali.jsonl.gz" "$hmm/ali/cuts_test_ali.jsonl.gz"
