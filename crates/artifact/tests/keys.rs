//! Hashes and keys, on documents that are drawn.

use proptest::prelude::*;
use resect_artifact::{FileEntry, Hash, Manifest, canonical_json};
use serde_json::{Map, Value, json};

/// Documents as keys are made of: settings, hashes, lists, numbers of every kind.
fn document() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no other", |x| x.is_finite()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..4)
                .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The same document, every map built the other way round.
fn rebuilt(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().rev().map(|(name, value)| (name.clone(), rebuilt(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(rebuilt).collect(),
        scalar => scalar.clone(),
    }
}

/// Every document that differs from this one in one scalar, one name, or one element more.
fn changed(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!(false), json!(0), json!("null")],
        Value::Bool(b) => vec![json!(!b), Value::Null, json!(b.to_string())],
        Value::Number(n) => {
            let next = n.as_f64().map(|x| json!(x.next_up())).filter(|next| next != value);
            vec![Value::Null, json!(n.to_string())].into_iter().chain(next).collect()
        }
        Value::String(text) => vec![json!(format!("{text} ")), json!(format!("\"{text}")), json!([text])],
        Value::Array(items) => {
            let mut all = vec![json!({}), json!([items.as_slice(), &[Value::Null]].concat())];
            for (index, item) in items.iter().enumerate() {
                for other in changed(item) {
                    let mut items = items.clone();
                    items[index] = other;
                    all.push(items.into());
                }
            }
            all
        }
        Value::Object(map) => {
            let mut more = map.clone();
            more.insert("a name that is not there".into(), Value::Null);
            let mut all = vec![json!([]), more.into()];
            for (name, value) in map {
                for other in changed(value) {
                    let mut map = map.clone();
                    map.insert(name.clone(), other);
                    all.push(map.into());
                }
                let mut without = map.clone();
                without.remove(name);
                all.push(without.into());
            }
            all
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_key_depends_on_values_alone_and_on_each_of_them(document in document()) {
        let key = Hash::key(&document);
        prop_assert_eq!(&Hash::key(&rebuilt(&document)), &key);
        let text = canonical_json(&document);
        let read: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(canonical_json(&read), text, "canonical text is its own canonical text");
        for other in changed(&document) {
            prop_assert_ne!(&Hash::key(&other), &key, "{} and {}", document, other);
        }
    }

    #[test]
    fn a_hash_is_its_digits_and_nothing_else_is_a_hash(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0usize..64, other in any::<char>()) {
        let hash = Hash::of(&bytes);
        let digits = hash.as_str().to_owned();
        prop_assert_eq!(Hash::try_from(digits.clone()), Ok(hash));
        let mut wrong: Vec<char> = digits.chars().collect();
        wrong[at] = other;
        let wrong: String = wrong.into_iter().collect();
        let is_digit = other.is_ascii_digit() || ('a'..='f').contains(&other);
        prop_assert_eq!(Hash::try_from(wrong).is_ok(), is_digit);
    }

    #[test]
    fn a_manifest_does_not_depend_on_the_order_of_its_files(names in prop::collection::btree_set("[a-z]{1,6}", 1..6), size in any::<u64>()) {
        let entry = |name: &String| FileEntry { path: name.clone(), size, blake3: Hash::of(name.as_bytes()) };
        let files: Vec<_> = names.iter().map(entry).collect();
        let manifest = Manifest::new(files.clone());
        prop_assert_eq!(Manifest::new(files.iter().rev().cloned().collect()).id().unwrap(), manifest.id().unwrap());
        prop_assert_eq!(&serde_json::from_str::<Manifest>(&manifest.to_json().unwrap()).unwrap(), &manifest);
        // A list may lie about sizes; their sum is no number beyond all others.
        prop_assert!(manifest.bytes() >= size);
        let mut other = files;
        other[0].size = size.wrapping_add(1);
        prop_assert_ne!(Manifest::new(other).id().unwrap(), manifest.id().unwrap());
    }
}
