# shellcheck shell=bash disable=SC2034,SC2154
# Audio and text that do not belong together, part of utils/recipe.sh: what systems without transcripts learn from. Behind
# stage 0 nothing reads a transcript of the training set.
# The recipe sets: text (the name of the setting) ngram_order nj

readonly PHONE_NGRAM_ORDER=4      # of the model that generators are chosen by, as in the paper, unless --ngram-order is of phones

# unpaired_data SETTING FIELD [TEXT]: in stage 0, a step that leaves audio of the training set without transcripts and, unless
# TEXT has sentences from elsewhere, the FIELD of transcripts as a text. Sets unpaired, the folder of all that follows.
unpaired_data() {
    unpaired=$data/unpaired-$text field=$2 sentences=${3:-$unpaired/audio/text.txt}
    SPEECHKIT_CORPUS+=", $text text"
    step "$unpaired/audio" --needs "$data/valid" -- \
        speechkit unpair --in "$data/valid" --out "$unpaired/audio" --setting "$1" --field "$field"
}

# unpaired_stages DETECTOR WORDS...: stages 1 and 2, audio without what DETECTOR takes for silence, and the phones of the text
# as WORDS tell, with their n-gram. Sets lang and lm, of phones, and word_lang and word_lm where the text has words.
unpaired_stages() {
    stage 1 "audio: silence, by the same detector in all sets"
    step "$unpaired/voiced" --needs "$unpaired/audio" -- \
        speechkit silence --data "$unpaired/audio" --out "$unpaired/voiced" --detector "$1" --nj "$nj"

    stage 2 "text: phones, n-gram models"
    local written=$unpaired/text order=$PHONE_NGRAM_ORDER
    lang=$written/lang word_lang='' word_lm=''
    step "$written" --needs "$sentences" -- speechkit unpaired-text --text "$sentences" --out "$written" "${@:2}"
    if [[ $field == text ]]; then
        lang=$written/phone_lang word_lang=$written/lang word_lm=${lm:-$written/word_lm.arpa} lm=''
        step "$word_lm" --needs "$written" -- \
            speechkit ngram --text "$written/words.txt" --order "$ngram_order" --out "$word_lm"
    elif given ngram-order; then
        order=$ngram_order
    fi
    lm=${lm:-$written/lm.arpa}
    step "$lm" --needs "$written" -- \
        speechkit ngram --text "$written/lm_text.txt" --order "$order" --out "$lm"
}
