//! Embeds the identity of the code.

fn main() {
    resect_identity::embed();
}
