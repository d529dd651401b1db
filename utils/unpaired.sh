# shellcheck shell=bash disable=SC2034,SC2154
# Audio and text that do not belong together, part of utils/recipe.sh: what systems without transcripts learn from. Behind
# stage 0 nothing reads a transcript of the training set.
# The recipe sets: text, the name of the setting

# unpaired_data SETTING FIELD [TEXT]: in stage 0, a step that leaves audio of the training set without transcripts and, unless
# TEXT has sentences from elsewhere, the FIELD of transcripts as a text. Sets unpaired, the folder of all that follows.
unpaired_data() {
    unpaired=$data/unpaired-$text field=$2 sentences=${3:-$unpaired/audio/text.txt}
    SPEECHKIT_CORPUS+=", $text text"
    step "$unpaired/audio" --needs "$data/valid" -- \
        speechkit unpair --in "$data/valid" --out "$unpaired/audio" --setting "$1" --field "$field"
}

# unpaired_stages DETECTOR WORDS...: stages 1 and 2, audio without what DETECTOR takes for silence, and the phones of the text
# as WORDS tell, with their n-gram. Sets lang and lm.
unpaired_stages() {
    stage 1 "audio: silence, by the same detector in all sets"
    step "$unpaired/voiced" --needs "$unpaired/audio" -- \
        speechkit silence --data "$unpaired/audio" --out "$unpaired/voiced" --detector "$1" --nj "$nj"

    stage 2 "text: phones, n-gram model"
    lang=$unpaired/text/lang
    step "$unpaired/text" --needs "$sentences" -- \
        speechkit unpaired-text --text "$sentences" --out "$unpaired/text" "${@:2}"
    given ngram-order || ngram_order=4
    lm=${lm:-$unpaired/text/lm.arpa}
    step "$lm" --needs "$unpaired/text" -- \
        speechkit ngram --text "$unpaired/text/phones.txt" --order "$ngram_order" --out "$lm"
}
