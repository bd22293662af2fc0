#!/bin/sh
# Make the project's own environment in .venv from requirements.lock. Nothing outside this folder is touched.
set -eu
cd "$(dirname "$0")/.."

python=""
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$(python3 --version 2>/dev/null || echo "no python3")
    echo "shoploom needs Python 3.11, 3.12 or 3.13; found $found. Install one, or name it: make run PYTHON=/path/to/python3.11" >&2
    exit 1
fi

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    uv=.shoploom/uv/bin/uv
    if [ ! -x "$uv" ]; then
        echo "fetching uv into .shoploom/uv"
        said=$("$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
            --target .shoploom/uv --require-hashes --only-binary=:all: -r infra/uv.lock 2>&1) || {
            echo "$said" >&2
            echo "could not fetch uv: $python needs pip (Debian: apt-get install python3-pip), or install uv yourself" >&2
            exit 1
        }
    fi
fi

export UV_PYTHON_DOWNLOADS=never
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
"$uv" pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
touch .venv/.installed
