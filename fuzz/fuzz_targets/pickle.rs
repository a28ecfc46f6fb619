//! The pickle of a PyTorch file, without the archive around it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_checkpoint::{pickle_of, pickled_shapes};
use resect_fuzz::begin;

fn seeds() -> Vec<Vec<u8>> {
    vec![pickle_of(&[]), pickle_of(&[("a.weight", &[2, 3]), ("b", &[])])]
}

fuzz_target!(init: begin("pickle", seeds()), |bytes: &[u8]| {
    if let Ok(tensors) = pickled_shapes(bytes) {
        // What was understood is understood again once it is written.
        let named: Vec<_> = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        assert_eq!(pickled_shapes(&pickle_of(&named)).as_ref(), Ok(&tensors));
    }
});
