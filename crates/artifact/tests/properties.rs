//! Artifacts in a store, for whatever files there may be; `keys.rs` has keys and hashes.

use proptest::prelude::*;
use resect_artifact::{MANIFEST, Manifest, Store};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_artifact_is_its_files_and_nothing_else(
        files in prop::collection::btree_map("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..64), 1..6),
        at in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!files.contains_key(MANIFEST));
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let made = |name: &str, order: &mut dyn Iterator<Item = (&String, &Vec<u8>)>| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            order.for_each(|(name, content)| std::fs::write(folder.join(name), content).unwrap());
            folder
        };
        let forwards = made("forwards", &mut files.iter());
        let id = Manifest::of_dir(&forwards).unwrap().id().unwrap();
        prop_assert_eq!(&store.publish("test", &forwards).unwrap(), &id);
        prop_assert_eq!(&store.publish("test", &made("backwards", &mut files.iter().rev())).unwrap(), &id);
        prop_assert!(store.verify("test", &id).is_ok());

        // Any other content is another artifact.
        let mut other = files.clone();
        let name = at.get(&files.keys().collect::<Vec<_>>()).to_string();
        other.get_mut(&name).unwrap().push(0);
        prop_assert_ne!(Manifest::of_dir(&made("other", &mut other.iter())).unwrap().id().unwrap(), id);
    }
}
