# shellcheck shell=bash disable=SC2034,SC2154
# Audio and text that do not belong together, part of utils/recipe.sh: what systems without transcripts learn from. Nothing
# behind stage 0 reads a transcript of the training set.

# unpaired_data SETTING WORDS...: in stage 0, a step that leaves the audio of the training set without transcripts and,
# unless SETTING is audio, a text. Sets unpaired, the folder of all that follows, and unlabelled, the audio.
unpaired_data() {
    unpaired=$data/unpaired-$text unlabelled=$unpaired/audio
    step "$unlabelled" --needs "$data/valid" -- \
        speechkit unpair --in "$data/valid" --out "$unlabelled" --setting "$1" "${@:2}" --seed "$seed"
    SPEECHKIT_CORPUS+=", $text text"
}

# unpaired_stages DETECTOR TEXT WORDS...: stages 1 and 2. Silence is taken out of the audio as DETECTOR finds it; TEXT becomes
# phones as WORDS tell, with their n-gram. Sets lang, lm and ngram_text.
unpaired_stages() {
    stage 1 "audio: silence, by the same detector in all sets"
    step "$unpaired/voiced" --needs "$unlabelled" -- \
        speechkit silence --data "$unlabelled" --out "$unpaired/voiced" --detector "$1" --nj "$nj"

    stage 2 "text: phones of sentences, n-gram model"
    step "$unpaired/text" --needs "$2" -- speechkit unpaired-text --text "$2" --out "$unpaired/text" "${@:3}" --seed "$seed"
    lang=$unpaired/text/lang
    language_models "$unpaired/text/phones.txt"
}
