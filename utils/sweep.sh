# shellcheck shell=bash disable=SC2154
# --sweep, part of utils/recipe.sh.

# Hands over to speechkit, which calls this recipe for each point of the grid.
run_sweep() {
    local name words=(--config "$sweep" --nj "$nj")
    if given stage || given stop-stage || [[ $force == true ]]; then
        usage_error "--sweep takes no --stage, --stop-stage or --force: its file names the stages"
    fi
    for name in "${option_names[@]}"; do
        if ! given "$name" || [[ ${option_types[$name]} == key=value ]]; then
            continue
        fi
        case $name in
            sweep | nj | dry-run) ;;
            exp | jobs) words+=("--${name/exp/out}=${option_given[$name]}") ;;
            *) words+=("--given=--$name" "--given=${option_given[$name]}") ;;
        esac
    done
    words+=("${given_pairs[@]/#/--given=}")
    if [[ $dry_run == true ]]; then
        words+=(--dry-run)
    fi
    exec speechkit sweep --recipe "./$recipe_name" "${words[@]}" "${launch[@]/#/--launch=}"
}
