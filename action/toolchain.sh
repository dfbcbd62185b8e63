# shellcheck shell=bash
# Which builds of llama.cpp a run may want, for the cache of Actions: outputs `key`, and `path` with the folder of each, one a line;
# nothing where that cannot be said. The run itself says what is wrong then: a cache is no reason to fail.
set -euo pipefail

[ -z "$ACTION_GITHUB_TOKEN" ] || export GITHUB_TOKEN="$ACTION_GITHUB_TOKEN"
unset ACTION_GITHUB_TOKEN

field() { # NAME
    printf '%s\n' "$said" | sed -n "s/^{.*\"$1\":\"\([^\"\\\\]*\)\".*/\1/p" | head -n 1
}

if said=$("$PROGRAM" --json --quiet toolchain key --config="$ACTION_CONFIG" 2>/dev/null) && [ -n "$(field key)" ]; then
    echo "llama.cpp, if it is wanted: $(field key)"
    root=$(field path)
    {
        echo "key=$(field key)"
        echo 'path<<end of the folders'
        # A runner that stays may have other builds beside these.
        while IFS= read -r build; do
            echo "$root/$build"
        done < <(printf '%s\n' "$said" | sed -n 's/^{.*"entries":\[\([^]]*\)\].*/\1/p' | grep -o '[0-9a-f]\{32\}')
        echo 'end of the folders'
    } >>"$GITHUB_OUTPUT"
else
    echo 'no build of llama.cpp can be named; none is cached'
fi
