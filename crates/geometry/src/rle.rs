//! COCO's run lengths (`cocoapi`, `maskApi.c`, `rleEncode`, `rleToString` and `rleFrString`).

use crate::{Mask, Size};

/// A string that holds no mask of the size it is said to have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("run lengths {what}")]
pub struct RleError {
    what: &'static str,
}

impl Mask {
    /// The mask as a string: lengths of alternating runs of background and foreground down the columns, from the third on as the
    /// difference to the run two before, in groups of five bits from the lowest, a sixth saying that more follow, offset by 48.
    pub fn to_rle(&self) -> String {
        let runs = runs(self);
        let mut text = String::new();
        for (index, &run) in runs.iter().enumerate() {
            let mut rest = if index > 2 { run - runs[index - 2] } else { run };
            loop {
                let bits = (rest & 0x1f) as u8;
                rest >>= 5;
                let more = if bits & 0x10 != 0 { rest != -1 } else { rest != 0 };
                text.push(char::from(bits + if more { 0x20 } else { 0 } + 48));
                if !more {
                    break;
                }
            }
        }
        text
    }

    /// The mask that [`Mask::to_rle`] wrote.
    ///
    /// # Errors
    /// Characters that none of them are, runs that are cut off or do not cover exactly the mask.
    pub fn from_rle(size: Size, text: &str) -> Result<Self, RleError> {
        let wrong = |what| RleError { what };
        let (height, width) = (size.height as usize, size.width as usize);
        let mut pixels = vec![false; size.pixels()];
        let (mut at, mut runs) = (0usize, Vec::new());
        let mut bytes = text.bytes().peekable();
        while bytes.peek().is_some() {
            let mut run = next_run(&mut bytes)?;
            if runs.len() > 2 {
                run += runs[runs.len() - 2];
            }
            let length = usize::try_from(run).map_err(|_| wrong("hold a negative one"))?;
            if length > pixels.len() - at {
                return Err(wrong("cover more than the mask"));
            }
            if runs.len() % 2 == 1 {
                (at..at + length).for_each(|i| pixels[i % height * width + i / height] = true);
            }
            at += length;
            runs.push(run);
        }
        if at == pixels.len() { Ok(Self::new(size, pixels)) } else { Err(wrong("cover less than the mask")) }
    }
}

/// The number at the front of a string.
fn next_run(bytes: &mut impl Iterator<Item = u8>) -> Result<i64, RleError> {
    /// Five bits each: more than any mask has pixels.
    const MOST: u32 = 10;
    let mut run = 0i64;
    for group in 0..MOST {
        let byte = bytes.next().ok_or(RleError { what: "are cut off" })?;
        let bits = byte.checked_sub(48).filter(|&bits| bits < 64);
        let bits = bits.ok_or(RleError { what: "hold a character that is none of theirs" })?;
        run |= i64::from(bits & 0x1f) << (5 * group);
        if bits & 0x20 == 0 {
            let negative = bits & 0x10 != 0;
            return Ok(if negative { run | -1 << (5 * (group + 1)) } else { run });
        }
    }
    Err(RleError { what: "hold a number that is too large" })
}

/// Run lengths down the columns, background first (none, where the first pixel is foreground).
fn runs(mask: &Mask) -> Vec<i64> {
    let Size { height, width } = mask.size();
    let mut runs = Vec::new();
    let (mut inside, mut length) = (false, 0);
    for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
        if mask.get(x, y) != inside {
            runs.push(length);
            (inside, length) = (!inside, 0);
        }
        length += 1;
    }
    runs.push(length);
    runs
}

#[cfg(test)]
mod tests;
