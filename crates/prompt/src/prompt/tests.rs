use super::*;

const SIZE: Size = Size::new(50, 100);

fn error<T: FromStr<Err = PromptError> + fmt::Debug>(text: &str) -> String {
    text.parse::<T>().unwrap_err().to_string()
}

#[test]
fn boxes_are_four_finite_numbers_that_hold_a_pixel() {
    assert_eq!("1, 2.5,3,4".parse(), Ok(BoxPrompt { x0: 1.0, y0: 2.5, x1: 3.0, y1: 4.0 }));
    assert!("3,4,3,4".parse::<BoxPrompt>().is_ok(), "one pixel");
    for text in ["1,2,3", "1,2,3,4,5", "1,2,3,x", "", "1;2;3;4"] {
        assert!(error::<BoxPrompt>(text).contains("expected x0,y0,x1,y1"), "{text}");
    }
    assert!(error::<BoxPrompt>("1,2,inf,4").contains("inf is no finite number"));
    assert!(error::<BoxPrompt>("1,2,nan,4").contains("NaN is no finite number"));
    assert!(error::<BoxPrompt>("9,2,3,4").contains("the box 9,2,3,4 is empty: x1 must not be less than x0"));
    assert!(error::<BoxPrompt>("1,9,3,4").contains("y1 must not be less than y0"));
}

#[test]
fn a_label_is_one_of_three() {
    for (text, label) in [("1", Label::Foreground), ("0", Label::Background), ("-1", Label::NotAPoint)] {
        assert_eq!(format!("5,6,{text}").parse::<PointPrompt>().unwrap().label, label);
    }
    for label in ["7", "-10", "0.5", "2"] {
        assert!(
            error::<PointPrompt>(&format!("5,6,{label}")).contains(&format!("the label {label} is none"))
        );
    }
}

#[test]
fn prompts_lie_in_the_image_and_maxima_may_be_exclusive() {
    let check = |bounds: &str| Prompt::<MaskPrompt>::of_box(bounds.parse::<BoxPrompt>().unwrap()).check(SIZE);
    for inside in ["0,0,99,49", "0,0,100,50", "99,49,99,49", "99.5,0,100,1"] {
        assert_eq!(check(inside), Ok(()), "{inside}");
    }
    for outside in ["-1,0,5,5", "0,-0.5,5,5", "0,0,100.5,5", "0,0,5,51", "100,0,100,5", "0,50,5,50"] {
        assert!(matches!(check(outside), Err(PromptError::BoxOutside { .. })), "{outside}");
    }
    for (point, inside) in [("0,0,1", true), ("99.9,49.9,0", true), ("100,0,1", false), ("0,-1,1", false)] {
        let point: PointPrompt = point.parse().unwrap();
        assert_eq!(point.check(SIZE).is_ok(), inside, "{point}");
    }
}

#[test]
fn parts_turn_with_the_pixels_they_name() {
    let (pixels, point) = (PixelBox { x0: 3, y0: 4, x1: 20, y1: 9 }, [7u32, 31]);
    for view in View::ALL {
        assert_eq!(BoxPrompt::from(pixels).seen(view, SIZE), view.pixel_box(pixels, SIZE).into(), "{view}");
        let seen = PointPrompt::foreground(point.map(f64::from)).seen(view, SIZE);
        assert_eq!([seen.x, seen.y], view.pixel(point, SIZE).map(f64::from), "{view}");
        assert_eq!(seen.label, Label::Foreground);
    }
}

#[test]
fn a_prompt_is_written_as_it_is_read() {
    let text = r#"{"box":[1.0,2.0,3.5,4.1],"points":[[5.0,6.0,0.0]],"mask":"m.png"}"#;
    let prompt: Prompt<String> = serde_json::from_str(text).unwrap();
    assert_eq!(prompt.mask.as_deref(), Some("m.png"));
    assert_eq!(serde_json::to_string(&prompt).unwrap(), text);
    let none: Prompt<String> = serde_json::from_str("{}").unwrap();
    assert!(none.is_empty() && !prompt.is_empty());
    assert!(serde_json::from_str::<Prompt<String>>(r#"{"points":[[5,6,-10]]}"#).is_err());
}
