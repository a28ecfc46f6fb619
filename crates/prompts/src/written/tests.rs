use super::*;

#[test]
fn it_is_one_object_of_parts_and_place() {
    let text = r#"{"box":[0.1,2.0,3.0,4.7],"points":[[5.0,6.25,1.0]],"mask":"m.png","from":"p.csv, line 3"}"#;
    let prompt: WrittenPrompt = serde_json::from_str(text).unwrap();
    assert_eq!((prompt.bounds.unwrap().x0, prompt.bounds.unwrap().y1), (0.1, 4.7));
    assert_eq!(prompt.mask, Some(PathBuf::from("m.png")));
    assert_eq!(serde_json::to_string(&prompt).unwrap(), text);
    assert_eq!(prompt.to_string(), "box 0.1,2,3,4.7 and point 5,6.25,1 and mask");
    let bare: WrittenPrompt = serde_json::from_str(r#"{"box":[1,2,3,4],"from":"--box"}"#).unwrap();
    assert_eq!((bare.points.len(), &bare.mask), (0, &None));
    assert!(serde_json::from_str::<WrittenPrompt>(r#"{"box":[9,2,3,4],"from":""}"#).is_err());
}
