# shellcheck shell=bash
# Which build of llama.cpp a run may want, for the cache of Actions: outputs `key` and `path`; nothing where that cannot be said.
# The run itself says what is wrong then: a cache is no reason to fail.
set -euo pipefail

[ -z "$ACTION_GITHUB_TOKEN" ] || export GITHUB_TOKEN="$ACTION_GITHUB_TOKEN"
unset ACTION_GITHUB_TOKEN

field() { # NAME
    printf '%s\n' "$said" | sed -n "s/^{.*\"$1\":\"\([^\"\\\\]*\)\".*/\1/p" | head -n 1
}

if said=$("$PROGRAM" --json --quiet toolchain key --config="$ACTION_CONFIG" 2>/dev/null) && [ -n "$(field key)" ]; then
    echo "llama.cpp, if it is wanted: $(field key)"
    {
        echo "key=$(field key)"
        echo "path=$(field path)"
    } >>"$GITHUB_OUTPUT"
else
    echo 'no build of llama.cpp can be named; none is cached'
fi
