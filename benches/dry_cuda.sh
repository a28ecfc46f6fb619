#!/bin/sh
# Compiles every kernel that Resect uses on an NVIDIA GPU, and counts what it asks of the driver, on a machine that has none:
#
#   sh benches/dry_cuda.sh [tiny] [vit-b]        # both, if none is named
#
# NVRTC and the headers come from pip, into target/dry-cuda; the driver is crates/device/tests/stand_in/dry.rs, which computes
# nothing. benches/dry_cuda.py runs the programs and prints the table. Wants Python; building with the feature takes minutes.
set -eu
cd "$(dirname "$0")/.."
dry=$PWD/target/dry-cuda
features=resect-embed/cuda,resect-train/cuda,resect-evaluate/cuda
mkdir -p "$dry/toolkit/include" "$dry/lib"

if [ ! -e "$dry/toolkit/include/crt" ]; then
    python3 -m venv "$dry/venv"
    "$dry/venv/bin/pip" install --quiet "nvidia-cuda-nvrtc-cu12==12.9.*" "nvidia-cuda-runtime-cu12==12.9.*" \
        "nvidia-cuda-cccl-cu12==12.9.*" "nvidia-cuda-nvcc-cu12==12.9.*"
    packages=$(echo "$dry"/venv/lib/python3*/site-packages/nvidia)
    for part in cuda_runtime cuda_nvrtc cuda_cccl cuda_nvcc; do
        cp -R "$packages/$part/include/." "$dry/toolkit/include/"
    done
    ln -sf "$packages"/cuda_nvrtc/lib/* "$dry/lib/"
fi
rustc --edition 2024 -O --crate-type cdylib -o "$dry/lib/libcuda.so.1" crates/device/tests/stand_in/dry.rs
cargo build --quiet --release --workspace --bins --features "$features"
step=$(cargo bench --workspace --bench step --no-run --features "$features" 2>&1 | sed -n 's/.*benches.step.rs (\(.*\))/\1/p')

CUDA_PATH="$dry/toolkit" LD_LIBRARY_PATH="$dry/lib" \
    exec python3 benches/dry_cuda.py --bin-dir target/release --step "$step" --work "$dry/work" "$@"
