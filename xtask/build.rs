//! Tells the runner which compiler and flags it was built with, and the identity of the code in it that makes sources.

fn main() {
    resect_identity::embed_toolchain();
    resect_identity::embed_of("RESECT_PHANTOM", "crates/phantom");
    resect_identity::embed_of("RESECT_CHECKPOINT", "crates/checkpoint");
}
