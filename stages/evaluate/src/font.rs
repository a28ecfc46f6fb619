//! A bitmap font of the few characters a legend needs: 5 x 7 dots, each drawn as a square of pixels.

/// Pixels of a dot's side.
const DOT: u32 = 2;
/// Height of a line in pixels.
pub(crate) const HEIGHT: u32 = 7 * DOT;
/// From one character to the next, in pixels.
pub(crate) const ADVANCE: u32 = 6 * DOT;

/// Width of a text in pixels.
pub(crate) fn width(text: &str) -> u32 {
    text.chars().count() as u32 * ADVANCE
}

/// Calls `put` with every pixel of a text, from its top left corner. Characters that the font lacks are blank.
pub(crate) fn write(text: &str, mut put: impl FnMut(u32, u32)) {
    for (index, rows) in text.chars().map(glyph).enumerate() {
        for (row, bits) in rows.into_iter().enumerate() {
            for column in (0..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                let (x, y) = (index as u32 * ADVANCE + column * DOT, row as u32 * DOT);
                (0..DOT).for_each(|dy| (0..DOT).for_each(|dx| put(x + dx, y + dy)));
            }
        }
    }
}

/// The rows of a character from the top, the leftmost dot in the highest of five bits.
fn glyph(character: char) -> [u8; 7] {
    match character {
        '0' => [0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110],
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111],
        '3' => [0b01110, 0b10001, 0b00001, 0b00110, 0b00001, 0b10001, 0b01110],
        '4' => [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        '6' => [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
        '7' => [0b11111, 0b00001, 0b00010, 0b00010, 0b00100, 0b00100, 0b00100],
        '8' => [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
        '9' => [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
        '.' => [0, 0, 0, 0, 0, 0b01100, 0b01100],
        '-' => [0, 0, 0, 0b01110, 0, 0, 0],
        ':' => [0, 0b01100, 0b01100, 0, 0b01100, 0b01100, 0],
        'a' => [0, 0, 0b01110, 0b00001, 0b01111, 0b10001, 0b01111],
        'b' => [0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b10001, 0b11110],
        'c' => [0, 0, 0b01110, 0b10000, 0b10000, 0b10001, 0b01110],
        'd' => [0b00001, 0b00001, 0b01111, 0b10001, 0b10001, 0b10001, 0b01111],
        'e' => [0, 0, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110],
        'h' => [0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b10001, 0b10001],
        'i' => [0b00100, 0, 0b01100, 0b00100, 0b00100, 0b00100, 0b01110],
        'l' => [0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        'n' => [0, 0, 0b11110, 0b10001, 0b10001, 0b10001, 0b10001],
        'o' => [0, 0, 0b01110, 0b10001, 0b10001, 0b10001, 0b01110],
        'r' => [0, 0, 0b10110, 0b11001, 0b10000, 0b10000, 0b10000],
        't' => [0b01000, 0b01000, 0b11110, 0b01000, 0b01000, 0b01001, 0b00110],
        'u' => [0, 0, 0b10001, 0b10001, 0b10001, 0b10011, 0b01101],
        'x' => [0, 0, 0b10001, 0b01010, 0b00100, 0b01010, 0b10001],
        _ => [0; 7],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_a_legend_can_be_drawn() {
        for character in
            "truth untuned tuned box: no clear outline 0.123456789 -".chars().filter(|c| *c != ' ')
        {
            assert_ne!(glyph(character), [0; 7], "{character}");
        }
    }

    #[test]
    fn dots_stay_within_their_cells() {
        write("h1", |x, y| assert!(y < HEIGHT && x % ADVANCE < ADVANCE - DOT && x < width("h1")));
    }
}
