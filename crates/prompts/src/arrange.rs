use std::path::PathBuf;

use crate::{BoxPrompt, PointPrompt, Prompt};

/// Boxes, points and a mask that cannot be told apart into prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrangeError {
    /// There is nothing.
    #[error("there is no prompt")]
    Nothing,
    /// Points that may belong to any of several boxes.
    #[error("there are points beside {0} boxes, and it is not said which belongs to which")]
    Points(usize),
    /// A mask that may belong to any of several boxes.
    #[error("there is a mask beside {0} boxes, and it is not said to which it belongs")]
    Mask(usize),
}

/// Makes prompts of what was given for one image: each box is a prompt; points belong to the one box, or are one prompt together
/// where there is none; and so does a mask. Boxes come with where they were written, and so does what is no box (`from`).
///
/// # Errors
/// Nothing at all, or points or a mask beside several boxes.
pub fn arrange(
    boxes: Vec<(BoxPrompt, String)>,
    points: Vec<PointPrompt>,
    mask: Option<PathBuf>,
    from: String,
) -> Result<Vec<Prompt>, ArrangeError> {
    match boxes.len() {
        0 if points.is_empty() && mask.is_none() => Err(ArrangeError::Nothing),
        0 => Ok(vec![Prompt { bounds: None, points, mask, from }]),
        1 => Ok(boxes
            .into_iter()
            .map(|(bounds, from)| Prompt {
                bounds: Some(bounds),
                points: points.clone(),
                mask: mask.clone(),
                from,
            })
            .collect()),
        several if !points.is_empty() => Err(ArrangeError::Points(several)),
        several if mask.is_some() => Err(ArrangeError::Mask(several)),
        _ => {
            let prompt =
                |(bounds, from)| Prompt { bounds: Some(bounds), points: Vec::new(), mask: None, from };
            Ok(boxes.into_iter().map(prompt).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_belong_to_the_one_box_and_several_boxes_are_several_prompts() {
        let a = ("1,2,3,4".parse().unwrap(), "a".to_owned());
        let b = ("5,6,7,8".parse().unwrap(), "b".to_owned());
        let point: PointPrompt = "1,2,1".parse().unwrap();
        let arrange = |boxes: &[_], points: &[_], mask: Option<&str>| {
            arrange(boxes.to_vec(), points.to_vec(), mask.map(PathBuf::from), "p".into())
        };
        assert_eq!(arrange(&[], &[], None), Err(ArrangeError::Nothing));
        let [only] = arrange(&[], &[point, point], None).unwrap().try_into().unwrap();
        assert_eq!((only.bounds, only.points.len()), (None, 2));
        let [only] = arrange(std::slice::from_ref(&a), &[point], Some("m")).unwrap().try_into().unwrap();
        assert_eq!((only.bounds, only.points.len(), only.from.as_str()), (Some(a.0), 1, "a"));
        assert!(only.mask.is_some());
        assert_eq!(arrange(&[a.clone(), b.clone()], &[], None).unwrap().len(), 2);
        assert_eq!(arrange(&[a.clone(), b.clone()], &[point], None), Err(ArrangeError::Points(2)));
        assert_eq!(arrange(&[a, b], &[], Some("m")), Err(ArrangeError::Mask(2)));
    }
}
