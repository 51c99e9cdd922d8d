#!/usr/bin/env bash
# Measures everything that depends on a GPU, in under ten minutes, and writes one JSON file and a Markdown table next to it.
# usage: benchmarks/gpu.sh [--json outputs/gpu.json] [other options of benchmarks/gpu.py]
# Without a GPU, benchmarks/gpu.sh --reduced --device cpu checks that everything runs.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
exec "$PYTHON" benchmarks/gpu.py "$@"
