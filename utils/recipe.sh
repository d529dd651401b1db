# shellcheck shell=bash
# The recipe shell, sourced by every egs/<corpus>/run.sh: strict mode, options, stages, done marks and logs.
#
#   size=mini; option size one-of:tiny,mini "..."    options of this recipe only (utils/options.sh tells the types)
#   begin "$@"                                       read the options, set up the environment
#   stage N "title"                                  what follows belongs to stage N
#   step OUT [--needs PATH]... [--files DIR]... [--keep] -- COMMAND...
#                        makes OUT, and is skipped while OUT was made with the same command and inputs.
#                        --needs: an input; --files: an input folder of which every file is looked at;
#                        --keep: expensive, so after a change it stops the recipe and says so
#   always [--needs PATH]... -- COMMAND...           runs whenever its stage does
#   decoding_graph                                   in stage 2: the graph that --decode wfst searches
#   neural_lm TEXT                                   in stage 2: the Transformer language model of --rescore transformer
#   alignment_stage                                  stage 3, from utils/alignment.sh
#   labelled_part                                    in stage 1: the part of the training set that --labels leaves
#   system_stages                                    stages 4 to 6 of --system, from utils/systems/
#   decoding_stages                                  stages 7 and 8, from utils/decoding.sh
#   finish                                           the last line: says how it went
#
# All of it happens in the recipe's folder. COMMAND writes its log to $SPEECHKIT_LOG.

set -Eeuo pipefail
shopt -s inherit_errexit
unset CDPATH

readonly LAST_STAGE=8
readonly FIRST_REDONE_STAGE=7     # a range that starts here or later is redone, not skipped
readonly LOG_LINES=20             # shown of the log when a command crashed
readonly CRASH=70                 # return code of speechkit after a crash, which it has shown itself
caller_dir=$PWD
SPEECHKIT_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[-1]}")" && pwd)
recipe_name=$(basename -- "${BASH_SOURCE[-1]}")
cd -- "$recipe_dir"
recipe_call=$(printf ' %q' "./$recipe_name" "$@")
export SPEECHKIT_ROOT

case $'\n'$(locale -a 2>/dev/null)$'\n' in
    *$'\nC.utf8\n'* | *$'\nC.UTF-8\n'*) export LC_ALL=C.UTF-8 ;;
    *) export LC_ALL=C ;;
esac
export PYTHONUTF8=1               # file names are UTF-8 in Python too, whatever the locale

# shellcheck source=utils/options.sh
. "$SPEECHKIT_ROOT/utils/options.sh"
# shellcheck source=utils/dry_run.sh
. "$SPEECHKIT_ROOT/utils/dry_run.sh"

# ---- options of every recipe -----------------------------------------------------------------------------------

system_names() {
    local file names=
    for file in "$SPEECHKIT_ROOT"/utils/systems/*.sh; do
        file=${file##*/}
        names+=,${file%.sh}
    done
    printf %s "${names#,}"
}

# shellcheck disable=SC2034       # recipes and systems use them
{
    stage=0 stop_stage=$LAST_STAGE corpus='' system=fbank config='' exp='' pretrain_config='' pretrained='' clusters=100,100 layer=3 nj=1 decode=both lm='' rescore=none lm_config='' fsa_engine=auto seed=0
    force=false dry_run=false help=false
    data=data                     # not an option: a recipe may choose a folder below data/
}
# shellcheck source=/dev/null
. ./cmd.sh                        # sets nj
option stage "int:0..$LAST_STAGE" "first stage to run"
option stop_stage "int:0..$LAST_STAGE" "last stage to run"
option corpus dir "folder of the real corpus (default: a synthesised miniature)"
option system "one-of:$(system_names)" "what to train"
option config file "configuration of the system (default conf/SYSTEM.yaml)"
option set key=value "change one value of the configuration; may be repeated"
option exp path "folder of the experiment (default exp/SYSTEM, or exp/SYSTEM-LABELS)"
option pretrain_config file "configuration of the pre-training (default conf/SYSTEM_pretrain.yaml)"
option set_pretrain key=value "change one value of the configuration of the pre-training; may be repeated"
option pretrained path "folder of the pre-training (default exp/SYSTEM-pretrained)"
option clusters string "hubert: numbers of clusters, one for each iteration"
option layer int:1.. "hubert: layer whose hidden states are clustered, counted from 1"
option nj int:1.. "number of parallel processes"
option decode one-of:greedy,beam,wfst,both "how to decode: without LM, by beam search or on a graph of lexicon and LM (both: greedy, wfst)"
option lm file "n-gram model in ARPA format for decoding (default: the one of stage 2)"
option rescore one-of:none,transformer "with transformer, a Transformer language model of the same text rescores n-best lists"
option lm_config file "configuration of that model (default conf/lm.yaml)"
option fsa_engine one-of:auto,torch,k2 "what searches graphs: the built-in engine or k2 (auto: k2 if it is installed)"
option seed int:0.. "seed of the training"
option force flag "redo the chosen stages; their old output is removed first"
option dry_run flag "list the chosen stages, their inputs and outputs and what would run; change nothing"
option help flag "show this text"

# ---- messages --------------------------------------------------------------------------------------------------

complain() {
    printf '%s: %s\n' "$recipe_name" "$*" >&2
}

fail() {
    complain "$@"
    exit 1
}

usage_error() {
    complain "$* (see ./$recipe_name --help)"
    exit 2
}

duration() {
    if (($1 < 60)); then
        printf '%d s' "$1"
    elif (($1 < 3600)); then
        printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
    else
        printf '%d h %02d min' $(($1 / 3600)) $(($1 / 60 % 60))
    fi
}

quoted() {
    local text
    text=$(printf '%q ' "$@")
    printf %s "${text% }"
}

# ERR trap: names stage, command, return code and log. A command that ends with 1 or 2 has said itself what is wrong.
on_error() {
    local rc=$1
    if ((BASH_SUBSHELL > 0)); then
        exit "$rc"                # the shell that waits for this one will tell
    fi
    trap - ERR
    if [[ -z $running ]]; then
        complain "line $2 failed with code $rc: $3"
        exit "$rc"
    fi
    printf '# ended with code %d after %s\n' "$rc" "$(duration $((SECONDS - running_since)))" >>"$log"
    if ((rc == 130)); then
        complain "stage $stage_number stopped (log: $log); the same command goes on from here"
        exit 130
    fi
    if ((rc != 1 && rc != 2 && rc != CRASH)); then
        printf -- '---- last lines of %s\n' "$log" >&2
        tail -n "$LOG_LINES" -- "$log" >&2
        printf -- '----\n' >&2
    fi
    if [[ -n $making ]] && ((rc == 1 || rc == 2)); then
        SPEECHKIT_LOG='' speechkit mark undo --out "$making"
    fi
    complain "stage $stage_number failed with code $rc$(cause "$rc"): $running (log: $log)"
    exit "$rc"
}
cause() {
    case $1 in
        137) printf ' (killed, perhaps for want of memory)' ;;
        127) printf ' (command not found)' ;;
    esac
}

on_signal() {
    trap - ERR
    complain "stopped${stage_number:+ in stage $stage_number}; the same command goes on from here"
    exit "$1"
}

running=                          # the command at work, for the traps
making=                           # its output, of which a finished older one comes back if the input was bad
running_since=0
log=
trap 'on_error $? "$LINENO" "$BASH_COMMAND"' ERR
trap 'on_signal 130' INT
trap 'on_signal 143' TERM

# ---- stages ----------------------------------------------------------------------------------------------------

mode=run                          # run, plan (--dry-run) or help
stage_number=
stage_titles=()
stages_seen=0
declare -A producers=()           # stage that makes an output, for every step of the recipe
result_line=                      # the last error rate that a command printed

begin() {
    local argument
    for argument in "$@"; do
        if [[ $argument == --help ]]; then
            mode=help
        fi
    done
    if [[ $mode == run ]]; then
        parse_options "$@"
    fi
    if [[ $rescore != none && $decode == greedy ]]; then
        usage_error "--rescore $rescore needs a search for n-best lists: take --decode beam, wfst or both"
    fi
    if ((stop_stage < stage)); then
        usage_error "--stop-stage $stop_stage lies before --stage $stage"
    fi
    if [[ -n ${SPEECHKIT_VENV-} && $SPEECHKIT_VENV != /* ]]; then
        export SPEECHKIT_VENV=$caller_dir/$SPEECHKIT_VENV
    fi
    if [[ ! $clusters =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]]; then
        usage_error "--clusters takes numbers, as 100,500, not '$clusters'"
    fi
    config=${config:-conf/$system.yaml}
    pretrain_config=${pretrain_config:-conf/${system}_pretrain.yaml}
    exp=${exp:-exp/$system$(part_name)}
    lm_config=${lm_config:-conf/lm.yaml}
    pretrained=${pretrained:-exp/$system-pretrained}
    # For RESULTS.md: what makes these results again, from the project's folder.
    SPEECHKIT_COMMAND=$(quoted "${recipe_dir#"$SPEECHKIT_ROOT"/}/$recipe_name" "${given_words[@]}")
    export SPEECHKIT_COMMAND SPEECHKIT_SYSTEM=$system
    if [[ $dry_run == true ]]; then
        mode=plan
        PATH=${SPEECHKIT_VENV:-$SPEECHKIT_ROOT/tools/venv}/bin:$PATH
    elif [[ $mode == run ]]; then
        # shellcheck source=/dev/null
        . ./path.sh
        check_config
    fi
}

# A wrong key or value shows at once, not when training starts.
check_config() {
    if [[ -f $config ]] && { given config || ((${#overrides[@]} > 0)); }; then
        speechkit config --config "$config" "${overrides[@]}" >/dev/null || exit $?
    fi
    if [[ -f $pretrain_config ]] && { given pretrain-config || ((${#pretrain_overrides[@]} > 0)); }; then
        speechkit config --kind pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" >/dev/null || exit $?
    fi
    if given lm-config; then
        speechkit config --kind lm --config "$lm_config" >/dev/null || exit $?
    fi
}

# "-10" with --labels 10, of the recipes that have this option, and nothing if all labels are used.
part_name() {
    if [[ -n ${labels-} && $labels != 100 ]]; then
        printf -- '-%s' "$labels"
    fi
}

stage() {
    stage_number=$1
    stage_titles[stage_number]=$2
    if in_range; then
        stages_seen=$((stages_seen + 1))
        printf '== stage %d: %s\n' "$stage_number" "$2"
    fi
}

in_range() {
    [[ $mode != help ]] && ((stage <= stage_number && stage_number <= stop_stage))
}

# shellcheck disable=SC2154       # lang is the recipe's
decoding_graph() {
    if [[ $decode == wfst || $decode == both ]]; then
        step "$lang/graph" --needs "$lang" --needs "$lm" -- speechkit graph --lang "$lang" --lm "$lm" --out "$lang/graph"
    fi
}

neural_lm() {
    if [[ $rescore == transformer ]]; then
        step "$lang/lm_transformer" --needs "$1" --needs "$lang" --needs "$data/valid" --needs "$lm_config" --keep -- \
            speechkit lm --config "$lm_config" --text "$1" --dev-cuts "$data/valid/cuts_dev.jsonl.gz" --lang "$lang" \
            --out "$lang/lm_transformer" --seed "$seed"
    fi
}

# Sets unlabelled and labelled: audio to pre-train on, and features with the transcripts that training may use.
labelled_part() {
    unlabelled=$data/valid labelled=$data/fbank
    if ((labels < 100)); then
        labelled=$data/labelled-$labels
        step "$labelled" --needs "$data/fbank" -- \
            speechkit subset --in "$data/fbank" --out "$labelled" --percent "$labels"
    fi
}

alignment_stage() {
    # shellcheck source=utils/alignment.sh
    . "$SPEECHKIT_ROOT/utils/alignment.sh"
}

system_stages() {
    # shellcheck source=utils/training.sh
    . "$SPEECHKIT_ROOT/utils/training.sh"
    # shellcheck source=/dev/null
    . "$SPEECHKIT_ROOT/utils/systems/$system.sh"
}

decoding_stages() {
    # shellcheck source=utils/decoding.sh
    . "$SPEECHKIT_ROOT/utils/decoding.sh"
}

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

# ---- the end ---------------------------------------------------------------------------------------------------

finish() {
    if [[ $mode == help ]]; then
        print_help
        return 0
    fi
    if ((stages_seen == 0)); then
        printf 'system %s has nothing to do in stages %d to %d\n' "$system" "$stage" "$stop_stage"
    elif [[ $mode == run ]]; then
        printf 'done in %s\n' "$(duration $SECONDS)"
    fi
    if [[ -n $result_line ]]; then
        printf '%s\n' "$result_line"
    fi
}
