#!/usr/bin/env bash
# Resolve what users install (the applications and their extras) for every supported Python and system, wheels only.
# A missing wheel fails; a registry that does not answer within the time limit is a message. What predicts without torch
# is resolved by itself, and torch in it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

export UV_PYTHON_DOWNLOADS=never # resolving needs no interpreter of that version
export MACOSX_DEPLOYMENT_TARGET=14.0 # the oldest macOS that the newest torch has wheels for
members=(packages/core/pyproject.toml apps/*/pyproject.toml)
mapfile -t light < <(grep -l '^    "polyscale\[predict\]' apps/*/pyproject.toml)
mapfile -t names < <(sed -n 's/^name = "\(.*\)"/\1/p' "${members[@]}")
mapfile -t pythons < <(sed -n 's/.*Python :: \(3\.[0-9]*\)".*/\1/p' packages/core/pyproject.toml)

compile() { # PYTHON PLATFORM ARGUMENTS: prints the resolved packages
    timeout "${RESOLVE_TIMEOUT:-180}" uv pip compile --quiet --no-header --only-binary :all: --python-version "$1" \
        --python-platform "$2" "${names[@]/#/--no-emit-package=}" "${@:3}"
}

resolve() { # PYTHON PLATFORM
    local code=0 found="" extras=(--extra train --extra heic --extra baseline)
    [ "$1" = 3.15 ] || extras+=(--extra export) # onnxruntime has no wheels for 3.15 yet
    compile "$1" "$2" "${extras[@]}" "${members[@]}" >/dev/null || code=$?
    [ $code != 0 ] || found=$(compile "$1" "$2" "${light[@]}") || code=$?
    if grep -qE '^(torch|scipy|timm|accelerate|transformers)==' <<<"$found"; then
        echo "resolve: Python $1 on $2: prediction without torch brings $(grep -E '^(torch|scipy|timm|accelerate|transformers)==' <<<"$found")"
        return 1
    fi
    case $code in
        0) echo "resolve: Python $1 on $2: wheels for everything" ;;
        124) echo "resolve: Python $1 on $2: not checked, the registry did not answer in time" ;;
        *) echo "resolve: Python $1 on $2: no wheels, see above" && return 1 ;;
    esac
}

jobs=()
for python in "${pythons[@]}"; do # side by side: they wait for the registry most of the time
    for platform in x86_64-unknown-linux-gnu aarch64-apple-darwin x86_64-pc-windows-msvc; do
        resolve "$python" "$platform" &
        jobs+=($!)
    done
done
failed=0
for job in "${jobs[@]}"; do wait "$job" || failed=1; done
exit "$failed"
