#!/usr/bin/env bash
# Sets up the virtual environment for the Makefile, a line a phase: setup.sh runtime, or setup.sh development.
# Reads PYTHON, VENV and PIP_ARGS. What fails shows pip's own words.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${PYTHON:=python3}" "${VENV:=.venv}" "${PIP_ARGS:=}"
CPU_INDEX=https://download.pytorch.org/whl/cpu
LIMIT=5        # seconds in which the index of CPU builds must answer
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# phase TEXT COMMAND...: one line with the seconds it took; the output only when it fails.
phase() {
    local text=$1 start=$SECONDS
    shift
    printf '%s ... ' "$text"
    if "$@" >"$log" 2>&1; then
        echo "$((SECONDS - start)) s"
    else
        echo failed
        cat "$log" >&2
        return 1
    fi
}

# shellcheck disable=SC2086  # PIP_ARGS holds several words
pip_install() { "$VENV/bin/python" -m pip install --quiet $PIP_ARGS "$@"; }

has_gpu() { compgen -G "/dev/nvidia[0-9]*" >/dev/null || nvidia-smi -L >/dev/null 2>&1; }

has_torch() { "$VENV/bin/python" -c 'import torch, torchvision' >/dev/null 2>&1; }

cpu_index_answers() {
    "$VENV/bin/python" -c "import urllib.request as r; r.urlopen('$CPU_INDEX/torch/', timeout=$LIMIT)" >/dev/null 2>&1
}

make_environment() {
    command -v "$PYTHON" >/dev/null || { echo "$PYTHON is not there; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
        echo "Python 3.10 or newer is needed, but $PYTHON is $("$PYTHON" -V 2>&1); name one: make PYTHON=python3.12" >&2
        exit 1
    }
    test -x "$VENV/bin/pip" || phase "virtual environment $VENV" "$PYTHON" -m venv "$VENV" || {
        echo "No virtual environment could be made. On Debian and Ubuntu: sudo apt install python3-venv" >&2
        exit 1
    }
}

# shellcheck disable=SC2086  # two requirements
# Without an NVIDIA GPU the CPU build is a tenth of the download; macOS has no other.
install_torch() {
    if has_torch; then return; fi
    local torch
    torch=$(grep -E '^torch(vision)?[^a-z]' requirements.txt | tr '\n' ' ')
    if [ "$(uname -s)" = Linux ] && [ -z "$PIP_ARGS" ] && ! has_gpu && cpu_index_answers; then
        if phase "PyTorch, CPU build" pip_install --index-url "$CPU_INDEX" --timeout "$LIMIT" --retries 1 $torch; then
            return
        fi
    fi
    phase "PyTorch" pip_install $torch
}

case "${1:-}" in
runtime)
    make_environment
    install_torch
    phase "fpt and what it needs" pip_install -e .
    phase "hotcoco, a faster evaluator" pip_install -e '.[fasteval]' 2>/dev/null ||
        echo "without hotcoco evaluation uses pycocotools: the same numbers, slower"
    ;;
development)
    phase "tools of development" pip_install -e '.[dev]'
    ;;
*)
    echo "usage: $0 runtime|development" >&2
    exit 2
    ;;
esac
