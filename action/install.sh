# shellcheck shell=bash
# Finds or builds the program, and says where it is (output `program`).
#
# The released one is taken only if its sha256 is the one that release.txt beside this file has for this system, and only if
# that release is of the version of this very tree: else it fails. `build-from-source` is asked for, never fallen back to.
#
# Bash 3.2 (macOS) must do. No input is ever part of a text that is run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    printf '::error title=jamph-quantizer::%s\n' "$1" >&2
    exit 1
}

sha256() { # FILE
    if command -v sha256sum >/dev/null; then
        sha256sum "$1"
    else
        shasum -a 256 "$1"
    fi | cut -d' ' -f1
}

target() {
    case ${RUNNER_OS:-}-${RUNNER_ARCH:-} in
        Linux-X64) echo x86_64-unknown-linux-musl ;;
        Linux-ARM64) echo aarch64-unknown-linux-musl ;;
        macOS-X64) echo x86_64-apple-darwin ;;
        macOS-ARM64) echo aarch64-apple-darwin ;;
        *) fail "there is no released program for this runner; build-from-source: true builds one" ;;
    esac
}

build() { # FOLDER
    command -v cargo >/dev/null || fail 'build-from-source needs Rust (https://rustup.rs) on the runner'
    # In its folder: rust-toolchain.toml picks the compiler. What crates run while they are built sees no token.
    (
        cd "$root"
        unset HF_TOKEN HUGGINGFACE_TOKEN GITHUB_TOKEN GH_TOKEN ACTIONS_ID_TOKEN_REQUEST_TOKEN ACTIONS_RUNTIME_TOKEN
        cargo build --release --locked --bin jamph-quantizer --target-dir "$1/target"
    )
    mv "$1/target/release/jamph-quantizer" "$1/jamph-quantizer"
    rm -rf "$1/target"
}

download() { # FOLDER
    local listed=$root/action/release.txt
    local target pinned url archive wanted
    target=$(target)
    pinned=$(sed -n 's/^version //p' "$listed")
    [ "$pinned" = "$version" ] ||
        fail "this commit of the action has no released program: use the tag of a release, or build-from-source: true"
    archive=jamph-quantizer-$version-$target.tar.gz
    wanted=$(sed -n "s/^\([0-9a-f]\{64\}\)  $archive\$/\1/p" "$listed")
    [ "${#wanted}" = 64 ] || fail "release $version has no program for $target; build-from-source: true builds one"
    url=$(sed -n 's/^from //p' "$listed")
    [ -z "$ACTION_RELEASE_URL" ] || url=${ACTION_RELEASE_URL%/}
    # Whatever way it came, the checksum decides.
    curl --fail --silent --show-error --location --proto "=http,https" --retry 5 \
        --connect-timeout 20 --max-time 600 --max-filesize 200000000 --output "$1/$archive" -- "$url/$archive" ||
        fail "$archive could not be downloaded"
    [ "$(sha256 "$1/$archive")" = "$wanted" ] || {
        rm -f "$1/$archive"
        fail "$archive is not what this action pins: its sha256 differs; nothing of it was run"
    }
    tar -xzf "$1/$archive" -C "$1" --no-same-owner jamph-quantizer
    rm "$1/$archive"
}

case $ACTION_COMMAND in
    run | plan | report | process | validate | install) ;;
    *) fail 'the input command is none of run, plan, report, process, validate, install' ;;
esac

# Used twice in a job, it is there the second time; another version is another program.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
folder=$RUNNER_TEMP/jamph-quantizer-$version
program=$folder/jamph-quantizer
if [ ! -x "$program" ]; then
    mkdir -p "$folder"
    case $ACTION_BUILD_FROM_SOURCE in
        true) build "$folder" ;;
        false | '') download "$folder" ;;
        *) fail 'the input build-from-source is neither true nor false' ;;
    esac
fi
"$program" --version
echo "program=$program" >>"$GITHUB_OUTPUT"
if [ "$ACTION_COMMAND" = install ]; then
    echo "$folder" >>"$GITHUB_PATH"
fi
