# shellcheck shell=bash disable=SC2153
# What the action's inputs (ACTION_*) mean on the command line of the program (PROGRAM), and the run itself. The program
# writes summary, annotations and outputs; its exit code is that of the step.
#
# Bash 3.2 (macOS) must do. Values stand behind `=` or `--`: none can become an option.
set -euo pipefail

fail() {
    printf '::error title=jamph-quantizer::%s\n' "$1" >&2
    exit 2
}

flag() { # INPUT VALUE OPTION
    case $2 in
        true) arguments+=("$3") ;;
        false | '') ;;
        *) fail "the input $1 is neither true nor false" ;;
    esac
}

automatic() { # INPUT VALUE CONDITION OPTION: `auto` is the condition's answer
    local value=$2
    [ "$value" != auto ] || value=$3
    flag "$1" "$value" "$4"
}

option() { # OPTION VALUE
    [ -z "$2" ] || arguments+=("$1=$2")
}

result_file() {
    case $ACTION_JOB in
        *[!A-Za-z0-9._-]* | .*) fail 'the input job is no id of a job' ;;
    esac
    mkdir -p -- "$ACTION_RESULTS"
    arguments+=("--result=$ACTION_RESULTS/${ACTION_JOB:-$ACTION_COMMAND}.json")
}

publishing() {
    flag force "$ACTION_FORCE" --force
    flag skip-upload "$ACTION_SKIP_UPLOAD" --skip-upload
    flag create-pr "$ACTION_CREATE_PR" --create-pr
    flag prune "$ACTION_PRUNE" --prune
    option --methods "$ACTION_METHODS"
    option --output "$ACTION_OUTPUT"
}

arguments=("$ACTION_COMMAND")
positional=$ACTION_CONFIG
case $ACTION_COMMAND in
    plan)
        arguments+=(--matrix)
        option --only "$ACTION_ONLY"
        publishing
        automatic comment "$ACTION_COMMENT" "$OWN_PULL_REQUEST" --comment
        ;;
    run)
        # The plan that a job is of was narrowed already.
        if [ -n "$ACTION_JOB" ]; then option --job "$ACTION_JOB"; else option --only "$ACTION_ONLY"; fi
        flag dry-run "$ACTION_DRY_RUN" --dry-run
        publishing
        result_file
        ;;
    process)
        [ -n "$ACTION_SOURCE" ] || fail 'the input source says what to process'
        flag dry-run "$ACTION_DRY_RUN" --dry-run
        publishing
        result_file
        positional=$ACTION_SOURCE
        ;;
    report)
        option --config "$ACTION_CONFIG"
        if [ -n "$ACTION_MATRIX" ]; then
            printf '%s\n' "$ACTION_MATRIX" >"$RUNNER_TEMP/jamph-quantizer-matrix.json"
            arguments+=("--matrix=$RUNNER_TEMP/jamph-quantizer-matrix.json")
        fi
        scheduled=false
        [ "${GITHUB_EVENT_NAME:-}" != schedule ] || scheduled=true
        automatic track-issue "$ACTION_TRACK_ISSUE" $scheduled --track-issue
        case $ACTION_RELEASE in
            true) arguments+=(--release) ;;
            false | '') ;;
            *) arguments+=("--release=$ACTION_RELEASE") ;;
        esac
        positional=$ACTION_RESULTS
        ;;
    validate) ;;
esac
while IFS= read -r line; do
    [ -z "$line" ] || arguments+=("$line")
done <<<"$ACTION_ARGUMENTS"

# What the workflow set itself stays, where an input is silent.
[ -z "$ACTION_HF_TOKEN" ] || export HF_TOKEN="$ACTION_HF_TOKEN"
[ -z "$ACTION_HF_ENDPOINT" ] || export HF_ENDPOINT="$ACTION_HF_ENDPOINT"
[ -z "$ACTION_GITHUB_TOKEN" ] || export GITHUB_TOKEN="$ACTION_GITHUB_TOKEN"
unset ACTION_HF_TOKEN ACTION_GITHUB_TOKEN

code=0
"$PROGRAM" "${arguments[@]}" -- "$positional" || code=$?
# Worth keeping in the cache where a whole one of the builds is there now.
while IFS= read -r build; do
    [ ! -f "$build/manifest.json" ] || echo "toolchain=true" >>"$GITHUB_OUTPUT"
done <<<"$TOOLCHAIN"
exit "$code"
