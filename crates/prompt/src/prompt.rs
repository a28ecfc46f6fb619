use std::fmt;
use std::str::FromStr;

use resect_geometry::{Mask, PixelBox, Size, View};
use serde::{Deserialize, Serialize};

/// A box in pixels of the original image. The maxima are those of the last pixel inside, so that a box of one pixel is
/// `3, 4, 3, 4`; coordinates may be fractional.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 4]", into = "[f64; 4]")]
pub struct BoxPrompt {
    /// Left edge.
    pub x0: f64,
    /// Top edge.
    pub y0: f64,
    /// Right edge, not left of `x0`.
    pub x1: f64,
    /// Bottom edge, not above `y0`.
    pub y1: f64,
}

/// What a point says about the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// 1: the object is here.
    Foreground,
    /// 0: the object is not here.
    Background,
    /// -1: no point at all, which the model has learned to ignore. The prompt encoder adds one to points without a box.
    NotAPoint,
    /// -10: fills a prompt up to the number of points of its batch, as `transformers` does. Its embedding is zero, which attention
    /// still sees, so Resect groups prompts by form instead; no text parses to it.
    Padding,
}

/// A point in pixels of the original image; coordinates may be fractional.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 3]", into = "[f64; 3]")]
pub struct PointPrompt {
    /// Distance from the left edge.
    pub x: f64,
    /// Distance from the top edge.
    pub y: f64,
    /// What it says.
    pub label: Label,
}

/// A prompt in pixels of the original image: a box, points and a mask, or any of these. It makes one set of masks.
///
/// `M` stands for the mask: the mask itself, or where it can be read (a path, on the command line).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt<M = MaskPrompt> {
    /// The box, if any.
    #[serde(rename = "box", default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<BoxPrompt>,
    /// The points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<PointPrompt>,
    /// A mask to start from, if any.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub mask: Option<M>,
}

/// A mask to start from.
#[derive(Clone, Debug, PartialEq)]
pub enum MaskPrompt {
    /// A mask of the original image's size.
    Pixels(Mask),
    /// Mask logits on the low-res grid `[4g, 4g]`, row by row, as an earlier prediction gives them.
    Logits(Vec<f32>),
}

/// What is wrong with a part of a prompt.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PromptError {
    /// The text is not so many numbers.
    #[error("expected {expected}, numbers separated by commas")]
    Form {
        /// The form, such as `x0,y0,x1,y1`.
        expected: &'static str,
    },
    /// A coordinate that is infinite or not a number.
    #[error("{0} is no finite number")]
    NotFinite(f64),
    /// A box without pixels.
    #[error("the box {bounds} is empty: {upper} must not be less than {lower}")]
    Empty {
        /// The box.
        bounds: String,
        /// The maximum's name.
        upper: &'static str,
        /// The minimum's name.
        lower: &'static str,
    },
    /// A number that is not a label.
    #[error("the label {0} is none: expected 1 (the object is here), 0 (it is not) or -1 (no point at all)")]
    Label(f64),
    /// A box that leaves the image.
    #[error("the box {bounds} lies outside the image, which is {} pixels wide and {} high", size.width, size.height)]
    BoxOutside {
        /// The box.
        bounds: BoxPrompt,
        /// The image's size.
        size: Size,
    },
    /// A point that is not in the image.
    #[error(
        "the point {x},{y} lies outside the image, which is {} pixels wide and {} high", size.width, size.height
    )]
    PointOutside {
        /// Distance from the left edge.
        x: f64,
        /// Distance from the top edge.
        y: f64,
        /// The image's size.
        size: Size,
    },
    /// A mask of another size than the image.
    #[error("the mask has {mask} pixels, the image {image}")]
    MaskSize {
        /// The mask's size.
        mask: Size,
        /// The image's size.
        image: Size,
    },
    /// Logits that do not cover the low-res grid.
    #[error("the mask has {found} logits, the low-res grid {low_res} x {low_res}")]
    LogitCount {
        /// How many logits there are.
        found: usize,
        /// Side of the grid.
        low_res: u32,
    },
}

impl BoxPrompt {
    /// A box from its corners.
    ///
    /// # Errors
    /// A coordinate that is not finite, or a box without pixels.
    pub fn new([x0, y0, x1, y1]: [f64; 4]) -> Result<Self, PromptError> {
        finite(&[x0, y0, x1, y1])?;
        let bounds = Self { x0, y0, x1, y1 };
        for (least, most, lower, upper) in [(x0, x1, "x0", "x1"), (y0, y1, "y0", "y1")] {
            if most < least {
                return Err(PromptError::Empty { bounds: bounds.to_string(), upper, lower });
            }
        }
        Ok(bounds)
    }

    /// The box in a view of an image of `size`. As pixel indices, its sides are mirrored at the middle of the last pixel.
    pub fn seen(self, view: View, size: Size) -> Self {
        let ([ax, ay], [bx, by]) =
            (view.point([self.x0, self.y0], size), view.point([self.x1, self.y1], size));
        Self { x0: ax.min(bx), y0: ay.min(by), x1: ax.max(bx), y1: ay.max(by) }
    }

    /// The box must begin in the image and not reach beyond it. Maxima may equal the width and the height, as tools write them
    /// that count the first pixel outside.
    fn check(&self, size: Size) -> Result<(), PromptError> {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let begins = (0.0..width).contains(&self.x0) && (0.0..height).contains(&self.y0);
        if begins && self.x1 <= width && self.y1 <= height {
            Ok(())
        } else {
            Err(PromptError::BoxOutside { bounds: *self, size })
        }
    }
}

impl PointPrompt {
    /// A point from its coordinates and the number of its label.
    ///
    /// # Errors
    /// A coordinate that is not finite, or a label other than 1, 0 and -1.
    pub fn new([x, y, label]: [f64; 3]) -> Result<Self, PromptError> {
        finite(&[x, y])?;
        let label = match label {
            1.0 => Label::Foreground,
            0.0 => Label::Background,
            -1.0 => Label::NotAPoint,
            other => return Err(PromptError::Label(other)),
        };
        Ok(Self { x, y, label })
    }

    /// A point of the object.
    pub fn foreground([x, y]: [f64; 2]) -> Self {
        Self { x, y, label: Label::Foreground }
    }

    /// The point in a view of an image of `size`.
    pub fn seen(self, view: View, size: Size) -> Self {
        let [x, y] = view.point([self.x, self.y], size);
        Self { x, y, ..self }
    }

    fn check(&self, size: Size) -> Result<(), PromptError> {
        let inside =
            (0.0..f64::from(size.width)).contains(&self.x) && (0.0..f64::from(size.height)).contains(&self.y);
        if inside { Ok(()) } else { Err(PromptError::PointOutside { x: self.x, y: self.y, size }) }
    }
}

impl<M> Prompt<M> {
    /// A box and nothing else.
    pub fn of_box(bounds: impl Into<BoxPrompt>) -> Self {
        Self { bounds: Some(bounds.into()), points: Vec::new(), mask: None }
    }

    /// Points and nothing else.
    pub fn of_points(points: impl Into<Vec<PointPrompt>>) -> Self {
        Self { bounds: None, points: points.into(), mask: None }
    }

    /// Whether there is neither box nor point nor mask.
    pub fn is_empty(&self) -> bool {
        self.bounds.is_none() && self.points.is_empty() && self.mask.is_none()
    }

    /// The same box and points with another mask.
    pub fn with_mask<N>(&self, mask: Option<N>) -> Prompt<N> {
        Prompt { bounds: self.bounds, points: self.points.clone(), mask }
    }

    /// Whether box and points lie in an image of this size.
    ///
    /// # Errors
    /// The first part that does not.
    pub fn check(&self, size: Size) -> Result<(), PromptError> {
        self.bounds.iter().try_for_each(|bounds| bounds.check(size))?;
        self.points.iter().try_for_each(|point| point.check(size))
    }
}

impl Label {
    fn number(self) -> f64 {
        match self {
            Self::Foreground => 1.0,
            Self::Background => 0.0,
            Self::NotAPoint => -1.0,
            Self::Padding => -10.0,
        }
    }
}

fn finite(numbers: &[f64]) -> Result<(), PromptError> {
    match numbers.iter().find(|number| !number.is_finite()) {
        Some(number) => Err(PromptError::NotFinite(*number)),
        None => Ok(()),
    }
}

fn numbers<const N: usize>(text: &str, expected: &'static str) -> Result<[f64; N], PromptError> {
    let parsed: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    parsed.and_then(|parsed| parsed.try_into().ok()).ok_or(PromptError::Form { expected })
}

impl FromStr for BoxPrompt {
    type Err = PromptError;

    fn from_str(text: &str) -> Result<Self, PromptError> {
        Self::new(numbers(text, "x0,y0,x1,y1")?)
    }
}

impl FromStr for PointPrompt {
    type Err = PromptError;

    fn from_str(text: &str) -> Result<Self, PromptError> {
        Self::new(numbers(text, "x,y,label")?)
    }
}

impl TryFrom<[f64; 4]> for BoxPrompt {
    type Error = PromptError;

    fn try_from(corners: [f64; 4]) -> Result<Self, PromptError> {
        Self::new(corners)
    }
}

impl TryFrom<[f64; 3]> for PointPrompt {
    type Error = PromptError;

    fn try_from(point: [f64; 3]) -> Result<Self, PromptError> {
        Self::new(point)
    }
}

impl From<PixelBox> for BoxPrompt {
    fn from(b: PixelBox) -> Self {
        let [x0, y0, x1, y1] = [b.x0, b.y0, b.x1, b.y1].map(f64::from);
        Self { x0, y0, x1, y1 }
    }
}

impl From<BoxPrompt> for [f64; 4] {
    fn from(b: BoxPrompt) -> Self {
        [b.x0, b.y0, b.x1, b.y1]
    }
}

impl From<PointPrompt> for [f64; 3] {
    fn from(point: PointPrompt) -> Self {
        [point.x, point.y, point.label.number()]
    }
}

impl fmt::Display for BoxPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{},{}", self.x0, self.y0, self.x1, self.y1)
    }
}

impl fmt::Display for PointPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.x, self.y, self.label.number())
    }
}

impl<M> fmt::Display for Prompt<M> {
    /// What it consists of: "box 1,2,3,4 and 2 points".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = match self.points.as_slice() {
            [] => None,
            [point] => Some(format!("point {point}")),
            several => Some(format!("{} points", several.len())),
        };
        let parts = [
            self.bounds.map(|bounds| format!("box {bounds}")),
            points,
            self.mask.as_ref().map(|_| "mask".to_owned()),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" and "))
    }
}

#[cfg(test)]
mod tests;
