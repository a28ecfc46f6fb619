//! Tells the program what code it was built from.

fn main() {
    resect_identity::embed();
}
