#!/bin/sh
# venv.sh FOLDER PIP-ARGUMENTS: a virtual environment with these packages.
set -eu
folder=$1
shift
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "segaway needs Python 3.11 or newer. Fix: make PYTHON=python3.12 (or another that you have)." >&2
    exit 1
}
if ! "$PYTHON" -m venv "$folder" >/dev/null 2>&1; then
    # Debian and Ubuntu split venv off; as root it can be had at once.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
        "$PYTHON" -m venv --clear "$folder"
    else
        echo "$PYTHON has no venv. Fix: sudo apt-get install python3-venv, then repeat." >&2
        exit 1
    fi
fi
"$folder/bin/python" -m pip install --quiet "$@"
