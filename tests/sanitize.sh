#!/bin/sh
# Runs the tests of the crates that hold `unsafe` under AddressSanitizer: kernels (the call of `gemm`, whose rows and strides are ours),
# layers (tensors in buffers of our own), tables and checkpoint (memory maps), device (calls of the CUDA driver, against a stand-in).
# LeakSanitizer comes with it.
#
# Needs a nightly Rust (`rustup toolchain install nightly --profile minimal`) on x86-64 Linux, a C compiler and 2 GB in target/sanitize.
# Not part of `cargo xtask test`: it builds everything once more, with another compiler.
#
# ThreadSanitizer is not offered: it must also build the standard library (-Zbuild-std), else it does not see what a lock or a condition of
# std puts in order, and calls every hand-over between rayon's threads a race. None of the five files shares memory between threads by
# itself.
set -eu
cd "$(dirname "$0")/.."
export ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
export RUSTFLAGS="-Zsanitizer=address"
export CARGO_TARGET_DIR="$PWD/target/sanitize"
# Checks for overflow stay; without any optimisation reading every damaged checkpoint takes ten minutes.
export CARGO_PROFILE_DEV_OPT_LEVEL=1
# With a target named, the flags are not those of build scripts and macros.
exec cargo +nightly test --target x86_64-unknown-linux-gnu --lib --tests \
    -p resect-kernels -p resect-layers -p resect-tables -p resect-checkpoint -p resect-device
