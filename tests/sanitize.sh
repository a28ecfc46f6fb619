#!/bin/sh
# Runs the tests of the crates that hold `unsafe` under AddressSanitizer: kernels (the call of `gemm`, whose rows and strides are ours),
# data and checkpoint (memory maps), device (calls of the CUDA driver, against a stand-in). LeakSanitizer comes with it.
#
#   tests/sanitize.sh [address|thread]
#
# Needs a nightly Rust (`rustup toolchain install nightly --profile minimal`) on x86-64 Linux, a C compiler, 2 GB in target/sanitize-*, and
# about five minutes on two cores. Not part of `cargo xtask test`: it builds everything once more, with another compiler.
#
# ThreadSanitizer sees races of our code and of rayon. The standard library is not built for it (that needs its sources, -Zbuild-std), so
# what it synchronises is unknown to it: reports on std's own channels and `Arc`s are false, and are left out below by name.
set -eu
sanitizer=${1:-address}
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
case "$sanitizer" in
address)
    # Memory that is still held when a program ends on purpose (tables made once) is no leak to LeakSanitizer; all else is.
    export ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
    abi=""
    ;;
thread)
    # The standard library that is linked was built without it.
    abi="-Cunsafe-allow-abi-mismatch=sanitizer"
    ;;
*)
    echo "tests/sanitize.sh [address|thread]" >&2
    exit 2
    ;;
esac
export RUSTFLAGS="-Zsanitizer=$sanitizer $abi"
export CARGO_TARGET_DIR="$PWD/target/sanitize-$sanitizer"
# The stand-in of the driver is compiled by the test itself, for the plain target.
exec cargo +nightly test --target "$target" --lib --tests \
    -p resect-kernels -p resect-data -p resect-checkpoint -p resect-device
