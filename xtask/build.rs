//! Tells the runner which compiler and flags it was built with.

fn main() {
    resect_identity::embed_toolchain();
}
