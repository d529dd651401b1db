# shellcheck shell=bash disable=SC2034,SC2154
# Features of recipes, part of utils/recipe.sh: what a system trains on and decodes from.

# Sets unlabelled, audio to pre-train on, and takes log-mel features with the transcripts that training may use.
labelled_part() {
    unlabelled=$data/valid labelled_percent=$labels
    if ((labels < 100)); then
        SPEECHKIT_CORPUS+=", $labels % of the labels"
    fi
    take_features "$data/fbank"
}

# take_features DIR: sets features and labelled, what is decoded and what training sees of it. A system with features of
# its own calls it again, and hidden_features does.
take_features() {
    features=$1 labelled=$1
    if ((labelled_percent < 100)); then
        labelled=$(dirname -- "$1")/labelled-$labelled_percent
        step "$labelled" --needs "$features" -- \
            speechkit subset --in "$features" --out "$labelled" --percent "$labelled_percent"
    fi
}

# hidden_features MODEL LAYER [CODES]: a step that stores a layer of MODEL; the features that the system then takes.
# CODES are what MODEL reads, if not audio.
hidden_features() {
    local folder=$pretrained${data#data}${3:+/of-codes}/features inputs=(--needs "$1" --needs "$data/valid") words=()
    if (($# > 2)); then
        inputs+=(--needs "$3") words=(--codes "$3")
    fi
    step "$folder" "${inputs[@]}" -- \
        speechkit features --in "$data/valid" --out "$folder" --checkpoint "$1" --layer "$2" "${words[@]}" --nj "$nj"
    take_features "$folder"
}
