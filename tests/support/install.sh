# shellcheck shell=bash
# Functions that get a test's tools from their registries. Sourced by the `run` of each directory of
# tests that is not Rust.

# Fails, saying what is missing: need COMMAND WHERE_IT_COMES_FROM
need() {
    command -v "$1" >/dev/null || { echo "$1 is missing: $2" >&2; exit 1; }
}

# Runs an installer: install_from REGISTRY COMMAND... Returns 1 when it failed because the registry
# is out of reach, and says so in a line that begins with SKIPPED. Any other failure ends the run.
install_from() {
    local registry=$1 output
    shift
    if output=$("$@" 2>&1); then return 0; fi
    printf '%s\n' "$output" >&2
    if grep -qiE 'connection (error|refused)|NewConnectionError|no such host|dial tcp|timed? ?out|name resolution|unreachable' <<<"$output"; then
        echo "SKIPPED: $registry cannot be reached: $*"
        return 1
    fi
    exit 1
}

# Makes a Python environment with what a file lists, unless it is there already: install_python
# DIRECTORY REQUIREMENTS
install_python() {
    local venv=$1 requirements=$2
    cmp -s "$requirements" "$venv/installed.txt" && return
    python3 -m venv "$venv" || { echo "python3 cannot make a venv: install the Debian package python3-venv" >&2; exit 1; }
    install_from PyPI "$venv/bin/pip" install --disable-pip-version-check -r "$requirements" || return
    cp "$requirements" "$venv/installed.txt"
}
