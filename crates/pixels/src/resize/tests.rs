use super::*;
use image::Rgb;

#[test]
fn weights_cover_the_whole_and_a_flat_image_stays_flat() {
    for (from, to) in [(1, 7), (7, 1), (100, 64), (64, 100), (529, 871), (1920, 1024), (3, 3000)] {
        for (first, weights) in Windows::new(from, to).iter() {
            let sum: i64 = weights.iter().map(|w| i64::from(*w)).sum();
            assert!((sum - (1 << PRECISION)).abs() <= weights.len() as i64);
            assert!(first + weights.len() <= from as usize);
        }
        let flat = RgbImage::from_pixel(from, 3, Rgb([255, 7, 0]));
        let planes = resized(&flat, Size::new(5, to));
        let expected = [255, 7, 0].map(|value| vec![value; 5 * to as usize]).concat();
        assert_eq!(planes, expected);
    }
}

/// One axis after the other, pixel by pixel.
fn by_definition(image: &RgbImage, to: Size) -> Vec<u8> {
    let fewer_rows = i64::from(image.height()) - i64::from(to.height);
    let fewer_columns = i64::from(image.width()) - i64::from(to.width);
    let sum = |terms: &mut dyn Iterator<Item = (u8, i32)>| {
        byte(HALF + terms.map(|(value, weight)| i32::from(value) * weight).sum::<i32>())
    };
    let along_x = |image: &RgbImage| {
        let windows = Windows::new(image.width(), to.width);
        let windows: Vec<_> = windows.iter().collect();
        RgbImage::from_fn(to.width, image.height(), |x, y| {
            let (first, weights) = windows[x as usize];
            Rgb([0, 1, 2].map(|c| {
                sum(&mut (first as u32..).zip(weights).map(|(x, w)| (image.get_pixel(x, y).0[c], *w)))
            }))
        })
    };
    let along_y = |image: &RgbImage| {
        let windows = Windows::new(image.height(), to.height);
        let windows: Vec<_> = windows.iter().collect();
        RgbImage::from_fn(image.width(), to.height, |x, y| {
            let (first, weights) = windows[y as usize];
            Rgb([0, 1, 2].map(|c| {
                sum(&mut (first as u32..).zip(weights).map(|(y, w)| (image.get_pixel(x, y).0[c], *w)))
            }))
        })
    };
    let columns_first = fewer_rows > 0 && fewer_rows > 2 * fewer_columns;
    planes(&if columns_first { along_x(&along_y(image)) } else { along_y(&along_x(image)) })
}

fn planes(image: &RgbImage) -> Vec<u8> {
    (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel.0[channel])).collect()
}

/// Sizes on either side of every block: rows that are resized together, lanes of a sum.
#[test]
fn vectors_give_what_the_definition_gives() {
    let sizes = [(1, 1), (1, 9), (9, 1), (2, 3), (4, 32), (5, 33), (37, 64), (64, 37), (131, 23), (23, 131)];
    for (height, width) in sizes {
        let image = RgbImage::from_fn(width, height, |x, y| {
            Rgb([0, 1, 2].map(|c| ((x * 31 + y * 17 + c * 7).wrapping_mul(2_654_435_761) >> 23) as u8))
        });
        for (height, width) in sizes {
            let to = Size::new(height, width);
            assert_eq!(resized(&image, to), by_definition(&image, to), "{:?} to {to}", image.dimensions());
        }
    }
}

#[test]
fn an_image_of_the_size_is_left_alone() {
    let image = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8 * 40, y as u8 * 60, 9]));
    assert_eq!(resized(&image, Size::new(4, 5)), planes(&image));
}
