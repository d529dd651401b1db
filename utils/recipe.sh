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
#   language_models TEXT                             in stage 2: those of --lm, --decode and --rescore, learned from TEXT
#   unpaired_data, unpaired_stages                   stages 0 to 2 of systems without transcripts, from utils/unpaired.sh
#   alignment_stage                                  stage 3, from utils/alignment.sh
#   labelled_part                                    in stage 1: the part of the training set that --labels leaves
#   take_features DIR                                the features that a system trains on and decodes from
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
# shellcheck source=utils/steps.sh
. "$SPEECHKIT_ROOT/utils/steps.sh"
# shellcheck source=utils/dry_run.sh
. "$SPEECHKIT_ROOT/utils/dry_run.sh"
# shellcheck source=utils/features.sh
. "$SPEECHKIT_ROOT/utils/features.sh"
# shellcheck source=utils/unpaired.sh
. "$SPEECHKIT_ROOT/utils/unpaired.sh"
# shellcheck source=utils/language_models.sh
. "$SPEECHKIT_ROOT/utils/language_models.sh"
# shellcheck source=utils/sweep.sh
. "$SPEECHKIT_ROOT/utils/sweep.sh"

# ---- options of every recipe -----------------------------------------------------------------------------------
# An option whose text begins with names of systems, as "hubert, wav2vec-u: ...", is refused with others.

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
    stage=0 stop_stage=$LAST_STAGE corpus='' system=fbank config='' exp='' pretrain_config='' pretrained='' clusters=100,100 cepstra=normalised layer=3 code_features=bert bert_config='' bert_layer=4 rounds=2 student=scratch ssl='' ssl_layer='' pool_config=conf/pool.yaml gans=5 nj=1 jobs='' sweep='' results=RESULTS.md decode=both lm='' rescore=none lm_config='' fsa_engine=auto seed=0
    force=false dry_run=false help=false
    lm_name=''                    # of --lm, if it is one
    search=wfst                   # the search with the language model
    data=data                     # not an option: a recipe may choose a folder below data/
    labelled_percent=100          # of the training set, as labelled_part leaves
    full_config=''                # all of --config and --set, where they are given and the environment is there
    decodings=()                  # neither: folders that stage 7 makes
    launch=()                     # nor this: words in front of the calls that --sweep makes, from cmd.sh
}
# shellcheck source=/dev/null
. ./cmd.sh                        # sets nj, and launch where jobs do not run on this machine
option stage "int:0..$LAST_STAGE" "first stage to run"
option stop_stage "int:0..$LAST_STAGE" "last stage to run"
option corpus dir "folder of the real corpus (default: a synthesised miniature)"
option system "one-of:$(system_names)" "what to train"
option config file "configuration of the system (default conf/SYSTEM.yaml)"
option set key=value "change one value of the configuration; may be repeated"
option exp path "folder of the experiment (default exp/SYSTEM, with labels and seed where they are not the usual: exp/SYSTEM-10-seed1)"
option pretrain_config file "configuration of the pre-training (default conf/SYSTEM_pretrain.yaml)"
option set_pretrain key=value "change one value of the configuration of the pre-training; may be repeated"
option pretrained path "folder of the pre-training (default exp/SYSTEM-pretrained, with the seed: exp/SYSTEM-pretrained-seed1)"
option clusters string "hubert, wav2vec-u: numbers of clusters, one for each iteration"
option cepstra one-of:normalised,plain "hubert, wav2vec-u: whether its first clusters are of cepstra normalised in each utterance, or as they are (the paper)"
option layer int:1.. "hubert, wav2vec-u: layer whose hidden states are clustered, counted from 1"
option code_features one-of:bert,context "vq-wav2vec: what the acoustic model reads, outputs of BERT over the codes or context vectors"
option bert_config file "vq-wav2vec, bert-asr: configuration of BERT (default conf/code-bert.yaml, conf/bert.yaml)"
option set_bert key=value "vq-wav2vec, bert-asr: change one value of it; may be repeated"
option bert_layer int:1.. "vq-wav2vec: layer of BERT that the acoustic model reads, counted from 1"
option rounds int:1.. "pseudo-label: rounds of labelling and training, fewer if dev gets worse"
option student one-of:scratch,continue "pseudo-label: train each student from the start, or from its teacher's weights"
option ssl path "wav2vec-u, bert-asr: pre-trained model that hears, as one of speechkit import (default: HuBERT, trained on the audio; bert-asr: none, log-mel and pitch)"
option ssl_layer int:1.. "wav2vec-u, bert-asr: its layer that is read, counted from 1 (default with wav2vec-u: 2 of the HuBERT trained here, 15 of --ssl)"
option pool_config file "wav2vec-u: how hidden states are pooled (default conf/pool.yaml)"
option set_ctc key=value "wav2vec-u: change one value of conf/wav2vec-u_ctc.yaml, what is trained in the end; may be repeated"
option gans int:1.. "wav2vec-u: generators to choose from, with the seeds from --seed on"
option nj int:1.. "number of parallel processes"
option decode one-of:greedy,beam,wfst,both "how to decode: without LM, by beam search or on a graph of lexicon and LM (both: greedy, wfst)"
option lm "file-or:none,4gram$(neural_lm_names)" "language model of the search: none (greedy), a word 4-gram or neural model of stage 2, for beam search, or an n-gram in ARPA format (default: the n-gram of stage 2)"
option rescore one-of:none,transformer "with transformer, a Transformer language model of the same text rescores n-best lists"
option lm_config file "configuration of the neural model of --rescore or --lm (default conf/lm.yaml, conf/lm_NAME.yaml)"
option fsa_engine one-of:auto,torch,k2 "what searches graphs: the built-in engine or k2 (auto: k2 if it is installed)"
option seed int:0.. "seed of pre-training and training; each has its folders"
option results path "table that the results are added to"
option sweep file "run the grid of values and seeds in this file, as those in conf/sweeps (--exp: its folder)"
option jobs int:1.. "with --sweep, runs at a time (default: one for each GPU, else for each process)"
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
    check_system
    choose_search
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
    if [[ -z $bert_config ]]; then
        bert_config=conf/$(if [[ $system == bert-asr ]]; then echo bert; else echo code-bert; fi).yaml
    fi
    exp=${exp:-exp/$system$(part_name)}
    if is_neural; then
        lm_config=${lm_config:-conf/lm_$lm_name.yaml}
    fi
    lm_config=${lm_config:-conf/lm.yaml}
    pretrained=${pretrained:-exp/$system-pretrained$(seed_name)}
    # For RESULTS.md: what makes these results again, from the project's folder.
    SPEECHKIT_COMMAND=$(quoted "${recipe_dir#"$SPEECHKIT_ROOT"/}/$recipe_name" "${given_words[@]}")
    export SPEECHKIT_COMMAND SPEECHKIT_SYSTEM=$system
    if [[ $dry_run == true ]]; then
        mode=plan
        PATH=${SPEECHKIT_VENV:-$SPEECHKIT_ROOT/tools/venv}/bin:$PATH
        if command -v speechkit >/dev/null; then
            check_config
        fi
    elif [[ $mode == run ]]; then
        # shellcheck source=/dev/null
        . ./path.sh
        check_config
    fi
    if given sweep && [[ $mode != help ]]; then
        run_sweep
    fi
}

# A system that needs more than the recipe has is refused before any stage, and so are options that it does not read.
# With --sweep its runs check, whose system stands in the file.
check_system() {
    local name owners
    if given sweep; then
        return 0
    fi
    for name in "${option_names[@]}"; do
        owners=${option_texts[$name]%%: *}
        if given "$name" && are_systems "$owners" && [[ ", $owners," != *", $system,"* ]]; then
            usage_error "--$name is for --system ${owners//, / or }, not for $system"
        fi
    done
    if [[ $system == bert-asr || $system == wav2vec-u ]]; then
        for name in decode lm lm-config rescore; do
            if given "$name"; then
                usage_error "--$name is not for --system $system, which has a search of its own"
            fi
        done
    fi
    if [[ $system == bert-asr && -z ${option_types[encoder]-} ]]; then
        usage_error "--system bert-asr reads characters; of the recipes egs/aishell has them"
    elif [[ $system == bert-asr && -n $ssl ]] && ! given ssl-layer; then
        usage_error "--ssl needs --ssl-layer: which of its layers --system bert-asr hears"
    elif [[ $system == wav2vec-u && ${option_types[text]-} != *unmatched* ]]; then
        usage_error "--system wav2vec-u learns from audio and text that are not paired; of the recipes egs/timit and egs/librispeech have them"
    fi
}

# Whether words with ", " between them are names of systems.
are_systems() {
    local word words
    IFS=, read -r -a words <<<"${1//, /,}"
    for word in "${words[@]}"; do
        if [[ ! -f $SPEECHKIT_ROOT/utils/systems/$word.sh ]]; then
            return 1
        fi
    done
}

# A wrong key or value shows at once, not when training starts.
check_config() {
    local kind=train bert_kind=code-bert
    case $system in
        bert-asr) kind=bert-asr bert_kind=bert ;;
        wav2vec-u) kind=gan ;;
    esac
    if [[ -f $config ]] && { given config || ((${#overrides[@]} > 0)); }; then
        full_config=$(speechkit config --kind "$kind" --config "$config" "${overrides[@]}") || exit $?
    fi
    if [[ -f $pretrain_config ]] && { given pretrain-config || ((${#pretrain_overrides[@]} > 0)); }; then
        speechkit config --kind pretrain --config "$pretrain_config" "${pretrain_overrides[@]}" >/dev/null || exit $?
    fi
    if given bert-config || ((${#bert_overrides[@]} > 0)); then
        speechkit config --kind "$bert_kind" --config "$bert_config" "${bert_overrides[@]}" >/dev/null || exit $?
    fi
    if ((${#ctc_overrides[@]} > 0)); then
        speechkit config --kind train --config conf/wav2vec-u_ctc.yaml "${ctc_overrides[@]}" >/dev/null || exit $?
    fi
    if given lm-config; then
        speechkit config --kind lm --config "$lm_config" >/dev/null || exit $?
    fi
}

# What names an experiment beside its system: "-10" with --labels 10, of the recipes that have this option, and the seed.
part_name() {
    if [[ -n ${labels-} && $labels != 100 ]]; then
        printf -- '-%s' "$labels"
    fi
    seed_name
}

# "-seed1" with --seed 1. What all experiments share, as the models of stages 2 and 3, is made with seed 0.
seed_name() {
    if ((seed > 0)); then
        printf -- '-seed%d' "$seed"
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
