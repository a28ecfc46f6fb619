//! Keys and ids, for whatever there may be.

use proptest::prelude::*;
use resect_artifact::{Hash, MANIFEST, Manifest, Store, canonical_json};
use serde_json::{Map, Value};

/// Any JSON, nested a little.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("a number", |x| x.is_finite()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(Map::from_iter(map))),
        ]
    })
}

/// The same, its objects built from the last name to the first.
fn rebuilt(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().rev().map(|(name, value)| (name.clone(), rebuilt(value))).collect())
        }
        Value::Array(items) => items.iter().map(rebuilt).collect(),
        scalar => scalar.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_key_is_that_of_the_document_however_it_was_built(document in json()) {
        prop_assert_eq!(Hash::key(&document), Hash::key(&rebuilt(&document)));
        // What is written and read again is the same document.
        let read: Value = serde_json::from_str(&canonical_json(&document)).unwrap();
        prop_assert_eq!(canonical_json(&read), canonical_json(&document));
        prop_assert_eq!(&read, &document);
    }

    #[test]
    fn another_document_has_another_key(a in json(), b in json()) {
        prop_assert_eq!(a == b, Hash::key(&a) == Hash::key(&b));
    }

    #[test]
    fn a_changed_field_changes_the_key(document in prop::collection::btree_map("[a-z]{1,6}", json(), 1..6), other in json()) {
        let (name, before) = document.first_key_value().unwrap();
        prop_assume!(*before != other);
        let (name, mut changed) = (name.clone(), document.clone());
        changed.insert(name, other);
        let key = |map: std::collections::BTreeMap<String, Value>| Hash::key(&Value::Object(Map::from_iter(map)));
        prop_assert_ne!(key(document), key(changed));
    }

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
        let id = Manifest::of_dir(&forwards).unwrap().id();
        prop_assert_eq!(&store.publish("test", &forwards).unwrap(), &id);
        prop_assert_eq!(&store.publish("test", &made("backwards", &mut files.iter().rev())).unwrap(), &id);
        prop_assert!(store.verify("test", &id).is_ok());

        // Any other content is another artifact.
        let mut other = files.clone();
        let name = at.get(&files.keys().collect::<Vec<_>>()).to_string();
        other.get_mut(&name).unwrap().push(0);
        prop_assert_ne!(Manifest::of_dir(&made("other", &mut other.iter())).unwrap().id(), id);
    }
}
