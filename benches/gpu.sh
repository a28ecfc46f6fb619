#!/usr/bin/env bash
# Parity and speed on a GPU beside PyTorch, as one table: benches/gpu.py says what, and takes the same arguments.
#
#     benches/gpu.sh [--quick] [--bin-dir DIR --xtask DIR/xtask]
#
# Wants a GPU, Python with torch, transformers and numpy (PYTHON says which), and Rust, or programs built elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" benches/gpu.py "$@"
