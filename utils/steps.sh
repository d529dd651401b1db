# shellcheck shell=bash disable=SC2034,SC2154
# Steps of recipes, part of utils/recipe.sh: inputs are checked, outputs locked, made and marked as done, commands logged.

declare -A producers=()           # stage that makes an output, for every step of the recipe
result_line=                      # the last error rate that a command printed

step() {
    local out=$1 inputs=() keep='' command=()
    shift
    read_step "$@"
    producers[$out]=$stage_number
    if ! in_range; then
        return 0
    fi
    if [[ $mode == plan ]]; then
        plan_step
        return 0
    fi
    check_inputs
    lock "$out"
    local verdict action hash reason
    verdict=$(marks start) || exit 1
    IFS=$'\t' read -r action hash reason <<<"$verdict"
    case $action in
        skip) printf 'stage %d: %s is up to date\n' "$stage_number" "$out" ;;
        refuse) refuse "$reason" ;;
        run) make_output "$reason" ;;
    esac
    exec {lock_file}>&-
}

always() {
    local out='' inputs=() keep='' command=()
    read_step "$@"
    if ! in_range; then
        return 0
    fi
    if [[ $mode == plan ]]; then
        plan_always
        return 0
    fi
    check_inputs
    start_command "$exp/log/$stage_number-$(basename -- "${command[1]-${command[0]}}").log"
    local output line
    output=$(SPEECHKIT_LOG=$(absolute "$log") "${command[@]}")
    end_command
    if [[ -n $output ]]; then
        printf '%s\n' "$output"
    fi
    while IFS= read -r line; do
        if [[ $line == %* ]]; then
            result_line=$line
        fi
    done <<<"$output"
}

# read_step WORDS...: fill inputs (as options of speechkit mark), keep and command of the caller.
read_step() {
    while (($# > 0)); do
        case $1 in
            --needs | --files)
                inputs+=("$1=$2")
                shift 2
                ;;
            --keep)
                keep=--keep
                shift
                ;;
            --)
                shift
                command=("$@")
                return 0
                ;;
            *) fail "stage $stage_number: a step has the unknown word '$1' before its command" ;;
        esac
    done
    fail "stage $stage_number: a step has no command"
}

# Every input has to exist and, where a step of this recipe makes it, to be finished.
check_inputs() {
    local message
    message=$(missing_input)
    if [[ -n $message ]]; then
        fail "stage $stage_number: $message"
    fi
}

missing_input() {
    local input path maker
    for input in "${inputs[@]}"; do
        path=${input#*=}
        maker=$(maker_of "$path")
        if [[ -z $maker ]]; then
            if [[ ! -e $path ]]; then
                printf '%s does not exist' "$path"
                return 0
            fi
        elif [[ -z ${planned[$maker]-} ]] && { [[ ! -e $path ]] || ! is_done "$maker"; }; then
            printf '%s is %s: run stage %d first (%s)' "$path" "$(state_of "$path")" "${producers[$maker]}" \
                "$(quoted "./$recipe_name" --stage "${producers[$maker]}" "${given_words[@]}")"
            return 0
        fi
    done
}

# The output of this recipe that PATH is or lies in, empty for a file from elsewhere.
maker_of() {
    local path=$1
    while [[ -z ${producers[$path]-} ]]; do
        if [[ $path != */* || -z ${path%/*} ]]; then
            return 0
        fi
        path=${path%/*}
    done
    printf %s "$path"
}

is_done() {
    [[ -e $1/.done.json || -e $(dirname -- "$1")/.$(basename -- "$1").done.json ]]
}

state_of() {
    if [[ -e $1 ]]; then
        printf 'not finished'
    else
        printf missing
    fi
}

# Two runs must not make one output at the same time; a job that outlived its run.sh holds the lock too.
lock() {
    local file
    file=$(dirname -- "$1")/.$(basename -- "$1").lock
    mkdir -p -- "$(dirname -- "$file")"
    exec {lock_file}>>"$file"
    if ! flock --nonblock "$lock_file"; then
        fail "stage $stage_number: another run is making $1: wait for it or stop it"
    fi
}

# marks check|start: compare the caller's step with the mark of its output.
marks() {
    local redo='' path
    local words=(--out "$out" "${inputs[@]}" "${command[@]/#/--command=}")
    if [[ -n $keep ]]; then
        words+=(--keep)
    fi
    if [[ $force == true ]]; then
        redo='--force'
    elif given stage && ((stage >= FIRST_REDONE_STAGE)); then
        redo='asked for with --stage'
    fi
    for path in "${!planned[@]}"; do
        words+=("--planned=$path=${planned[$path]}")
    done
    SPEECHKIT_LOG='' speechkit mark "$1" "--redo=$redo" "${words[@]}"
}

refuse() {
    complain "stage $stage_number: $out was made with something else: $1"
    fail "it is kept: --force makes it again in its place, --exp DIR (or --pretrained DIR) makes another beside it"
}

make_output() {
    local folder=$data
    if [[ $out == "$exp" || $out == "$exp"/* ]]; then
        folder=$exp
    elif [[ $out == "$pretrained" || $out == "$pretrained"/* ]]; then
        folder=$pretrained
    fi
    printf 'stage %d: making %s (%s)\n' "$stage_number" "$out" "$1"
    start_command "$folder/log/$stage_number-$(basename -- "$out").log"
    making=$out
    SPEECHKIT_LOG=$(absolute "$log") "${command[@]}"
    making=
    end_command
    SPEECHKIT_LOG='' speechkit mark finish --out "$out"
    printf 'stage %d: %s made in %s (log: %s)\n' "$stage_number" "$out" "$(duration $((SECONDS - running_since)))" "$log"
}

start_command() {
    log=$1
    mkdir -p -- "$(dirname -- "$log")"
    running=$(quoted "${command[@]}")
    running_since=$SECONDS
    printf '  %s\n' "$running"
    printf '# %s\n# called by%s on %s, %s\n' "$running" "$recipe_call" "$HOSTNAME" "$(date --iso-8601=seconds)" >>"$log"
}

end_command() {
    running=
    printf '# ended with code 0 after %s\n' "$(duration $((SECONDS - running_since)))" >>"$log"
}

absolute() {
    if [[ $1 == /* ]]; then
        printf %s "$1"
    else
        printf %s "$PWD/$1"
    fi
}
