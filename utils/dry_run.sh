# shellcheck shell=bash disable=SC2034,SC2154
# --dry-run, part of utils/recipe.sh: what each step would do, without doing anything.
# Steps of the recipe call plan_step and plan_always, which see their variables out, inputs, keep and command.
# speechkit sweep reads the lines of inputs and outputs, and those with 'would'.

declare -A planned=()             # hash of outputs that a dry run would make

plan_step() {
    local verdict action hash reason
    reason=$(missing_input)
    if [[ -n $reason ]]; then
        show_plan "$out: would stop, $reason"
        return 0
    fi
    if ! command -v speechkit >/dev/null; then
        plan_without_environment
        return 0
    fi
    verdict=$(marks check) || exit 1
    IFS=$'\t' read -r action hash reason <<<"$verdict"
    case $action in
        skip) show_plan "$out: up to date" ;;
        refuse) show_plan "$out: would stop, it is kept although $reason (see --force and --exp)" ;;
        run)
            planned[$out]=$hash
            show_plan "$out: would run ($reason)"
            ;;
    esac
}

plan_without_environment() {
    if is_done "$out"; then
        show_plan "$out: made before (whether it is up to date shows once the environment is set up)"
    else
        planned[$out]=unknown
        show_plan "$out: would run (not made yet)"
    fi
}

plan_always() {
    local reason
    reason=$(missing_input)
    if [[ -n $reason ]]; then
        show_plan "would stop, $reason"
    else
        show_plan "always runs"
    fi
}

show_plan() {
    local input
    printf '  %s\n' "$1"
    for input in "${inputs[@]}"; do
        printf '      input   %s\n' "${input#*=}"
    done
    if [[ -n $out ]]; then
        printf '      output  %s\n' "$out"
    fi
    printf '      command %s\n' "$(quoted "${command[@]}")"
}
