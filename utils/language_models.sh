# shellcheck shell=bash disable=SC2034,SC2154
# Language models of recipes, part of utils/recipe.sh: which ones --lm, --decode and --rescore ask for, and the search with them.

# ",NAME" for each conf/lm_NAME.yaml: neural models of the search with a language model.
neural_lm_names() {
    local file
    for file in conf/lm_*.yaml; do
        file=${file##*/lm_}
        if [[ $file != '*.yaml' ]]; then
            printf ',%s' "${file%.yaml}"
        fi
    done
}

# Takes a name of --lm apart: what is searched, and how.
choose_search() {
    if [[ $lm == none ]]; then
        if given decode && [[ $decode != greedy ]]; then
            usage_error "--lm none leaves greedy decoding: leave out --decode $decode"
        fi
        lm='' decode=greedy
    elif [[ -n $lm && ! -f $lm ]]; then
        lm_name=$lm lm=''
    fi
    if [[ $lm_name == 4gram ]]; then
        if given ngram-order; then
            usage_error "--lm 4gram and --ngram-order choose the same: give one of them"
        fi
        ngram_order=4
    elif is_neural && [[ $decode == wfst || $rescore != none ]]; then
        usage_error "--lm $lm_name goes with beam search and without --rescore: a graph holds an n-gram, and lists one neural score"
    fi
    if [[ $decode == beam || (-n $lm_name && $decode == both) ]]; then
        search=beam
    fi
}

is_neural() {
    [[ -n $lm_name && $lm_name != 4gram ]]
}

# language_models TEXT: the n-gram, the graph that holds it, and the neural models that were asked for. Sets lm, if the user
# did not.
language_models() {
    local text=$1 ngram=$lang/lm.arpa
    if [[ $lm_name == 4gram ]]; then
        ngram=$lang/lm_4gram.arpa
    fi
    step "$ngram" --needs "$text" -- speechkit ngram --text "$text" --order "$ngram_order" --out "$ngram"
    if is_neural; then
        neural_lm "$text" "$lang/lm_$lm_name"
        lm=$lang/lm_$lm_name/final
    fi
    lm=${lm:-$ngram}
    graph=$lang/graph${lm_name:+_$lm_name}
    if [[ $decode != greedy && $search == wfst ]]; then
        step "$graph" --needs "$lang" --needs "$lm" -- speechkit graph --lang "$lang" --lm "$lm" --out "$graph"
    fi
    if [[ $rescore == transformer ]]; then
        neural_lm "$text" "$lang/lm_transformer"
    fi
}

# neural_lm TEXT OUT: a step that trains one; dev chooses its best weights.
neural_lm() {
    step "$2" --needs "$1" --needs "$lang" --needs "$data/valid" --needs "$lm_config" --keep -- \
        speechkit lm --config "$lm_config" --text "$1" --dev-cuts "$data/valid/cuts_dev.jsonl.gz" --lang "$lang" \
        --out "$2"
}

# Sets method and model: the search with the language model, as options of speechkit decode.
language_model_search() {
    method=$search model=(--lm "$lm")
    if [[ $method == wfst ]]; then
        model=(--graph "$graph")
        if [[ $fsa_engine == k2 ]]; then
            model+=(--wfst-backend k2)
        fi
    fi
}
