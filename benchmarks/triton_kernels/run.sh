#!/usr/bin/env bash
# Checks the Triton kernels in an environment of their own: Triton is no dependency of anything else here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv="${TRITON_VENV:-build/triton-venv}"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 triton==3.9.0 -e .
fi
# Without a GPU, Triton's own interpreter runs the kernels.
if ! "$venv/bin/python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    export TRITON_INTERPRET=1
fi
PYTHONPATH=src "$venv/bin/python" benchmarks/triton_kernels/rms_norm.py "$@"
