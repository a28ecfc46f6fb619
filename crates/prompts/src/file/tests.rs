use super::*;

fn parse(name: &str, text: &str) -> Result<Vec<ImagePrompts>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    read(&path).map_err(|error| error.to_string())
}

/// Of each prompt: whether it has a box, how many points, whether it has a mask.
type Shape = (bool, usize, bool);

fn shape(images: &[ImagePrompts]) -> Vec<(&str, Vec<Shape>)> {
    let prompt = |p: &WrittenPrompt| (p.bounds.is_some(), p.points.len(), p.mask.is_some());
    images.iter().map(|i| (i.image.as_str(), i.prompts.iter().map(prompt).collect())).collect()
}

#[test]
fn csv_rows_are_boxes_and_points_of_an_image() {
    let text = "\u{feff}image, x0, y0, x1, y1\nb.png, 1, 2, 3.5, 4\na.png,0,0,5,5\nb.png,7,7,9,9\n";
    let found = parse("prompts.csv", text).unwrap();
    assert_eq!(shape(&found), [("b.png", vec![(true, 0, false); 2]), ("a.png", vec![(true, 0, false)])]);
    assert_eq!(found[0].prompts[1].from, "prompts.csv, line 4");
    assert_eq!(found[0].prompts[0].bounds.unwrap().x1, 3.5);
    let text = "image,prompt,x0,y0,x1,y1,x,y,label,mask\n\
                a.png,left,1,2,3,4,,,,\na.png,left,,,,,2,3,1,\na.png,right,5,5,9,9,6,6,0,m.png\na.png,left,,,,,2,2,0,";
    assert_eq!(shape(&parse("p.CSV", text).unwrap()), [("a.png", vec![(true, 2, false), (true, 1, true)])]);
    let text = "image,x,y,label\na.png,1,2,1\na.png,3,4,-1\n";
    assert_eq!(shape(&parse("p.csv", text).unwrap()), [("a.png", vec![(false, 2, false)])]);
}

#[test]
fn what_is_wrong_with_csv_is_said_with_its_line_and_column() {
    for (text, want) in [
        ("image,x0,y0,x1,y1\na.png,1,b,3,4", "p.csv, line 2, y0: \"b\" is no number"),
        ("image,x0,y0,x1,y1\na.png,1,,3,4", "line 2, y0: it is empty, although"),
        ("image,x0,y0,x1,y1\na.png,5,1,3,4", "line 2: the box 5,1,3,4 is empty"),
        ("image,x,y,label\na.png,5,1,7", "line 2: the label 7 is none"),
        ("image,x,y,label\n,5,1,1", "line 2, image: it is empty"),
        ("image,x,y,lable\na.png,5,1,1", "line 1: there is no column \"lable\""),
        ("x,y,label\n5,1,1", "line 1: the column \"image\" is missing"),
        ("image,x,y,label\na.png,,,", "line 2: it has neither box nor point"),
        ("image,x,y,label\na.png,1", "line 2"),
        (
            "image,x0,y0,x1,y1,x,y,label\na.png,1,1,3,4,,,\na.png,1,1,3,4,2,2,1",
            "line 2: a.png: there are points beside 2 boxes, and it is not said which belongs to which; give rows",
        ),
        (
            "image,prompt,x0,y0,x1,y1\na,k,1,1,3,4\na,k,1,1,3,4",
            "line 3, prompt: prompt k of a has a box already",
        ),
        ("image,x0,y0,x1,y1\n", "holds no prompt"),
    ] {
        let error = parse("p.csv", text).unwrap_err();
        assert!(error.contains(want), "{want}\nis not in\n{error}");
    }
}

#[test]
fn json_is_a_list_of_prompts() {
    let text = r#"[{"image": "a.png", "box": [1, 2, 3, 4], "points": [[1, 2, 0]]}, {"image": "b.png", "mask": "m.png"},
            {"image": "a.png", "points": [[1.5, 2, 1], [3, 3, -1]]}]"#;
    assert_eq!(
        shape(&parse("p.json", text).unwrap()),
        [("a.png", vec![(true, 1, false), (false, 2, false)]), ("b.png", vec![(false, 0, true)])]
    );
    for (text, want) in [
        (r#"[{"image": "a", "box": [1, 2, 3]}]"#, "p.json, [0].box"),
        (r#"[{"image": "a", "box": [9, 2, 3, 4]}]"#, "[0].box: the box 9,2,3,4 is empty"),
        (r#"[{"image": "a", "points": [[1, 2, 1], [1, 2, 7]]}]"#, "[0].points[1]: the label 7 is none"),
        (r#"[{"image": "a", "points": []}]"#, "[0]: it has neither"),
        (r#"[{"image": "a", "bx": [1, 2, 3, 4]}]"#, "unknown field `bx`"),
        (r#"[{"box": [1, 2, 3, 4]}]"#, "missing field `image`"),
        (r#"{"image": "a"}"#, "at its top: invalid type: map"),
        ("[", "EOF while parsing"),
        ("[]", "holds no prompt"),
    ] {
        let error = parse("p.json", text).unwrap_err();
        assert!(error.contains(want), "{want}\nis not in\n{error}");
    }
    assert!(parse("p.txt", "").unwrap_err().contains("a .csv or .json file"));
}
