# shellcheck shell=bash
# Installs tools that are no part of the project, for the scripts that drive it with them: sourced
# by the `run` of tests/chart, tests/kubernetes, tests/monitoring, tests/python and benches/ghz.
#
# What comes from a registry has a pinned version; Debian pins its own. Everything goes below
# $tools, which the caller has set. Where a tool cannot be had, a line that begins with SKIPPED says
# why, and the function returns 1.

: "${tools:?the directory for tools must be set}"

GHZ_VERSION=v0.120.0
# shellcheck disable=SC2034  # for install_helm, in those who source this
HELM_VERSION=v3.22.0
# What this Helm and the programs for it need.
HELM_GO_VERSION=1.26

# Runs an installer; returns 1 when it failed because the registry is out of reach. Any other
# failure ends the run.
install_from() {
    local registry=$1 log=$tools/install.log
    shift
    if "$@" >"$log" 2>&1; then return 0; fi
    cat "$log" >&2
    if grep -qiE 'connection (error|refused)|NewConnectionError|no such host|dial tcp|timed? ?out|name resolution|unreachable|Unable to (fetch|locate)|No candidate' "$log"; then
        echo "SKIPPED $registry cannot be reached: $*"
        return 1
    fi
    exit 1
}

# A Python environment at $tools/NAME with what requirements files list.
install_python() {
    local venv=$tools/$1 requirements=("${@:2}")
    if cat "${requirements[@]}" | cmp -s - "$venv/installed.txt"; then return 0; fi
    python3 -m venv "$venv" || { echo "python3 cannot make a venv: install the Debian package python3-venv" >&2; exit 1; }
    install_from PyPI "$venv/bin/pip" install --disable-pip-version-check \
        "${requirements[@]/#/--requirement=}" || return 1
    cat "${requirements[@]}" >"$venv/installed.txt"
}

# Sets GHZ.
install_ghz() {
    export GHZ=$tools/ghz-$GHZ_VERSION/ghz
    if [[ -x $GHZ ]]; then return 0; fi
    command -v go >/dev/null || { echo "ghz needs go 1.18 or later: https://go.dev/dl, or the Debian package golang-go" >&2; exit 1; }
    install_from "the Go module proxy" env GOBIN="$(dirname "$GHZ")" \
        go install "github.com/bojand/ghz/cmd/ghz@$GHZ_VERSION"
}

# Sets HELM: install_helm VERSION
install_helm() {
    local version=$1 found
    export HELM=$tools/helm-$version/helm
    if [[ -x $HELM ]]; then return 0; fi
    command -v go >/dev/null || { echo "go is missing, $HELM_GO_VERSION or later: https://go.dev/dl" >&2; exit 1; }
    found=$(go env GOVERSION)
    if ! printf '%s\n' "$HELM_GO_VERSION" "${found#go}" | sort -CV; then
        echo "SKIPPED helm: it needs Go $HELM_GO_VERSION or later, and this is $found: https://go.dev/dl"
        return 1
    fi
    install_from "the Go module proxy" env GOBIN="$(dirname "$HELM")" \
        go install "helm.sh/helm/${version%%.*}/cmd/helm@$version"
}

# Sets PROMETHEUS and PROMTOOL: what is installed, or else Debian's package unpacked, which starts no
# service and needs no root.
install_prometheus() {
    if PROMETHEUS=$(command -v prometheus) && PROMTOOL=$(command -v promtool); then
        export PROMETHEUS PROMTOOL
        return 0
    fi
    local unpacked=$tools/prometheus
    export PROMETHEUS=$unpacked/usr/bin/prometheus PROMTOOL=$unpacked/usr/bin/promtool
    if [[ -x $PROMTOOL ]]; then return 0; fi
    if ! command -v apt-get >/dev/null; then
        echo "SKIPPED promtool: it is not installed, and there is no apt-get to get Debian's package prometheus with"
        return 1
    fi
    local download
    download=$(mktemp -d)
    # Its lists may be missing, which only root can change.
    (cd "$download" && apt-get download prometheus) >/dev/null 2>&1 || apt-get update -q >/dev/null 2>&1 || true
    if ! (cd "$download" && install_from "Debian's archive" apt-get download prometheus); then
        rm -r "$download"
        return 1
    fi
    dpkg -x "$download"/prometheus_*.deb "$unpacked"
    rm -r "$download"
}

# The Python client of tests/python/contract.proto, in $generated. It needs install_python python.
generate_client() {
    local contracts
    contracts=$(cd "$(dirname "${BASH_SOURCE[0]}")/python" && pwd)
    generated=$tools/python-generated
    mkdir -p "$generated"
    "$tools/python/bin/python" -m grpc_tools.protoc -I "$contracts" \
        --python_out="$generated" --grpc_python_out="$generated" contract.proto
}
