# shellcheck shell=bash disable=SC2154
# Options of recipes, part of utils/recipe.sh: declared, checked, never evaluated.
#
#   size=mini                             a variable with its default, and
#   option size one-of:tiny,mini "help"   the option that sets it: --size (some_name gives --some-name)
#
# Types: int:A..B (B may be missing), float, flag, string, one-of:a,b,c, some-of:a,b,c (such words with commas between), file and
# dir (have to exist), path (may be new; all three are meant from where the user calls), file-or:a,b,c and dir-or:a,b,c (one of
# these words, else such), key=value (repeatable; gathers `--set key=value` in `overrides`, of --set-pretrain in
# `pretrain_overrides`, of --set-bert in `bert_overrides`, of --set-ctc in `ctc_overrides`).

option_names=()                   # as typed, without the dashes, in the order of --help
declare -A option_types=() option_texts=() option_defaults=()
declare -A option_given=()        # values as the recipe has them, paths from its folder
given_words=()                    # the options of this call that make a difference to its result
overrides=() pretrain_overrides=() bert_overrides=() ctc_overrides=()
given_pairs=()                    # the options of type key=value, with their names

option() {
    local name=${1//_/-}
    option_names+=("$name")
    option_types[$name]=$2
    option_texts[$name]=$3
    option_defaults[$name]=${!1-}
}

# Whether the user gave the option, as in: if given exp; then ...
given() {
    [[ -n ${option_given[$1]-} ]]
}

parse_options() {
    local name value
    while (($# > 0)); do
        name=${1%%=*}
        name=${name#--}
        if [[ -z $name || $1 != -* ]]; then
            usage_error "unexpected argument '$1'"
        fi
        if [[ $1 != --* || -z ${option_types[$name]-} ]]; then
            usage_error "unknown option '${1%%=*}'$(nearest "${1%%=*}" "${option_names[@]/#/--}")"
        fi
        if [[ ${option_types[$name]} == flag ]]; then
            if [[ $1 == *=* ]]; then
                usage_error "option --$name takes no value"
            fi
            printf -v "${name//-/_}" true
            option_given[$name]=true
            shift
            continue
        fi
        if [[ $1 == *=* ]]; then
            value=${1#*=}
            shift
        else
            if (($# < 2)) || [[ $2 == --* ]]; then
                usage_error "option --$name needs a value"
            fi
            value=$2
            shift 2
        fi
        set_option "$name" "$value"
    done
}

set_option() {
    local name=$1 value=$2 type=${option_types[$1]} word words
    if [[ -z $value ]]; then
        usage_error "option --$name needs a value"
    fi
    case $type in
        int:*) check_integer "$name" "$value" "${type#int:}" ;;
        one-of:*) check_choice "$name" "$value" "${type#one-of:}" ;;
        some-of:*)
            IFS=, read -r -a words <<<"$value,"
            for word in "${words[@]}"; do
                check_choice "$name" "$word" "${type#some-of:}"
            done
            ;;
        float) [[ $value =~ ^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$ ]] || usage_error "--$name: '$value' is not a number" ;;
        file-or:*)
            if [[ ! -f $(from_caller "$value") ]]; then
                check_choice "$name" "$value" "${type#*-or:}" " or an existing file"
            fi
            ;;
        dir-or:*)
            if [[ ! -d $(from_caller "$value") ]]; then
                check_choice "$name" "$value" "${type#*-or:}" " or an existing folder"
            fi
            ;;
        file) [[ -f $(from_caller "$value") ]] || usage_error "--$name: there is no file $value" ;;
        dir) [[ -d $(from_caller "$value") ]] || usage_error "--$name: there is no folder $value" ;;
        key=value) [[ $value == ?*=* ]] || usage_error "--$name takes key=value, not '$value'" ;;
    esac
    option_given[$name]=true
    case $name in
        stage | stop-stage | nj) ;;
        *) given_words+=("--$name" "$value") ;;
    esac
    case $type in
        int:*) printf -v "${name//-/_}" %d "$((10#$value))" ;;
        file-or:* | dir-or:*)
            if [[ ,${type#*-or:}, != *",$value,"* ]]; then
                value=$(from_caller "$value")
            fi
            printf -v "${name//-/_}" %s "$value"
            ;;
        file | dir | path) printf -v "${name//-/_}" %s "$(from_caller "$value")" ;;
        key=value)
            given_pairs+=("--$name" "$value")
            case $name in
                set) overrides+=(--set "$value") ;;
                set-pretrain) pretrain_overrides+=(--set "$value") ;;
                set-bert) bert_overrides+=(--set "$value") ;;
                set-ctc) ctc_overrides+=(--set "$value") ;;
            esac
            ;;
        *) printf -v "${name//-/_}" %s "$value" ;;
    esac
    if [[ $type != key=value ]]; then
        name=${name//-/_}
        option_given[${name//_/-}]=${!name}
    fi
}

check_integer() {
    local name=$1 value=$2 low=${3%..*} high=${3#*..}
    if [[ ! $value =~ ^[0-9]{1,9}$ ]] || ((10#$value < low || 10#$value > ${high:-999999999})); then
        usage_error "--$name: '$value' is not a whole number $(if [[ -n $high ]]; then echo "from $low to $high"; else echo "of at least $low"; fi)"
    fi
}

check_choice() {
    local name=$1 value=$2 choices
    IFS=, read -r -a choices <<<"$3"
    if [[ ,$3, != *",$value,"* || $value == *,* ]]; then
        usage_error "--$name: unknown '$value'$(nearest "$value" "${choices[@]}"), choose from: ${choices[*]}${4-}"
    fi
}

# A path as the user means it, written from the recipe's folder if it lies in there, else absolute.
from_caller() {
    local path=$1
    if [[ $path != /* ]]; then
        path=$caller_dir/$path
    fi
    path=$(realpath --canonicalize-missing --no-symlinks -- "$path")
    printf '%s' "${path#"$recipe_dir"/}"
}

# nearest NAME CHOICE...: ", did you mean 'x'?" or nothing.
nearest() {
    local name=$1 choice best='' distance least
    shift
    least=$(((${#name} + 1) / 2 + 1))
    for choice in "$@"; do
        distance=$(edit_distance "$name" "$choice")
        if ((${#name} > 3)) && [[ $choice == "$name"* ]]; then
            distance=0
        fi
        if ((distance < least)); then
            least=$distance
            best=$choice
        fi
    done
    if [[ -n $best ]]; then
        printf ", did you mean '%s'?" "$best"
    fi
}

edit_distance() {
    local a=$1 b=$2 i j cost corner next
    local -a row=()
    for ((j = 0; j <= ${#b}; j++)); do
        row[j]=$j
    done
    for ((i = 1; i <= ${#a}; i++)); do
        corner=${row[0]}
        row[0]=$i
        for ((j = 1; j <= ${#b}; j++)); do
            cost=1
            if [[ ${a:i-1:1} == "${b:j-1:1}" ]]; then
                cost=0
            fi
            next=$((corner + cost))
            corner=${row[j]}
            ((next > corner + 1)) && next=$((corner + 1))
            ((next > row[j - 1] + 1)) && next=$((row[j - 1] + 1))
            row[j]=$next
        done
    done
    printf %d "${row[${#b}]}"
}

print_help() {
    local name type value number
    printf 'usage: ./%s [options]\n\n%s\n\noptions:\n' "$recipe_name" "$(description)"
    for name in "${option_names[@]}"; do
        type=${option_types[$name]}
        case $type in
            flag) value= ;;
            int:*) value=N ;;
            float) value=X ;;
            one-of:*) value="{${type#one-of:}}" ;;
            some-of:*) value="{${type#some-of:}}[,...]" ;;
            file-or:*) value="{${type#*-or:},FILE}" ;;
            dir-or:*) value="{${type#*-or:},DIR}" ;;
            key=value) value=KEY=VALUE ;;
            *) value=${type^^} ;;
        esac
        printf '  %-28s %s' "--$name $value" "${option_texts[$name]}"
        if [[ $type != flag && -n ${option_defaults[$name]} ]]; then
            printf ' (default %s)' "${option_defaults[$name]}"
        fi
        printf '\n'
    done
    printf '\nstages:\n'
    for ((number = 0; number <= LAST_STAGE; number++)); do
        if [[ -n ${stage_titles[number]-} ]]; then
            printf '  %d  %s\n' "$number" "${stage_titles[number]}"
        fi
    done
    cat <<'END'

A step is skipped while its command and inputs are what its output was made with, and runs again when they change.
Training is the exception: a change stops there, and --force trains again or --exp DIR trains beside.
A range that starts at stage 7 or 8 decodes and scores again even if nothing changed; scoring always runs.
An interrupted run goes on where it stopped when the same command is given again.
END
}

# The comment at the head of the recipe, without the shebang.
description() {
    sed -n -e '1{/^#!/d}' -e '/^#/!q' -e 's/^# \{0,1\}//p' -- "$recipe_dir/$recipe_name"
}
