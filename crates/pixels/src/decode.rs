//! From a file's bytes to pixels, or one line that says why not.
//!
//! The orientation in EXIF data is applied, to images and to masks: Hugging Face `datasets` does so when it decodes
//! an image column, although a bare `Image.open` does not. A mask is compared with its image after that.
//!
//! Samples of 16 bits become `value / 257`, rounded. Palettes are looked up. Where an image is
//! transparent, white shows through, as in `transformers` 5 (`image_transforms.py`, `convert_to_rgb`); of a mask, alpha is
//! dropped.
//!
//! Pillow clips 16-bit grey at 255, which turns such an image white; scaling it instead is the one deliberate difference.

use crate::PixelError;
use image::codecs::bmp::BmpDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, RgbaImage};
use resect_geometry::Size;
use std::io::{BufRead, Cursor, Read, Seek};

/// A decoded, upright image.
pub struct Rgb {
    /// 8-bit pixels.
    pub pixels: RgbImage,
    /// Its EXIF orientation moved pixels.
    pub turned: bool,
}

/// A decoded, upright mask, not yet binary.
pub struct Grey {
    /// Height and width.
    pub size: Size,
    /// One value a pixel: grey, or the palette index.
    pub values: Vec<u8>,
}

/// Decodes an image of at most `max_pixels`.
///
/// # Errors
/// Bytes that are no image, damaged, too large, or of floating-point samples.
pub fn rgb(bytes: &[u8], max_pixels: u64) -> Result<Rgb, PixelError> {
    guarded(|| {
        let (image, turned) = open(bytes, max_pixels)?;
        if matches!(image, DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_)) {
            return Err("its samples are floating-point numbers of unknown range: store 8 or 16 bits".into());
        }
        let pixels =
            if image.color().has_alpha() { on_white(&image.into_rgba8()) } else { image.into_rgb8() };
        Ok(Rgb { pixels, turned })
    })
}

/// Height and width of an image of at most `max_pixels`, upright as [`rgb`] gives it; reads its header alone where the format has
/// one.
///
/// # Errors
/// What is no image, has no or too many pixels, or a damaged header. An image that is damaged further on has a size.
pub fn upright_size(file: impl BufRead + Seek, max_pixels: u64) -> Result<Size, PixelError> {
    guarded(|| {
        let mut reader = ImageReader::new(file).with_guessed_format().map_err(undecodable)?;
        if reader.format().is_none() {
            let mut head = Vec::new();
            let mut file = reader.into_inner();
            file.rewind().and_then(|()| file.take(64).read_to_end(&mut head)).map_err(undecodable)?;
            return Err(format!("it is not an image: {}", found_instead(&head)).into());
        }
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(max_bytes(max_pixels));
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(undecodable)?;
        let (width, height) = decoder.dimensions();
        check_size(width, height, max_pixels)?;
        let turned = matches!(
            decoder.orientation().unwrap_or(Orientation::NoTransforms),
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        Ok(if turned { Size::new(width, height) } else { Size::new(height, width) })
    })
}

/// Decodes a mask of at most `max_pixels`. `as_labels`: palette indices instead of the palette's colours.
///
/// # Errors
/// As [`rgb`].
pub fn grey(bytes: &[u8], max_pixels: u64, as_labels: bool) -> Result<Grey, PixelError> {
    guarded(|| {
        let indices = if as_labels { palette_indices(bytes, max_pixels)? } else { None };
        let image = match indices {
            Some(image) => image,
            None => open(bytes, max_pixels)?.0,
        };
        let size = Size::new(image.height(), image.width());
        let values = match image {
            DynamicImage::ImageLuma8(image) => image.into_raw(),
            DynamicImage::ImageLumaA8(image) => image.pixels().map(|p| p.0[0]).collect(),
            DynamicImage::ImageLuma16(image) => narrow(image.into_raw(), as_labels),
            DynamicImage::ImageLumaA16(image) => narrow(image.pixels().map(|p| p.0[0]).collect(), as_labels),
            DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => {
                return Err("its samples are floating-point numbers: store the mask in 8 bits".into());
            }
            colour => pulp::Arch::new().dispatch(Luma(colour.into_rgb8().as_raw())),
        };
        Ok(Grey { size, values })
    })
}

/// Pillow's `alpha_composite` over opaque white (`AlphaComposite.c`), to the bit.
fn on_white(image: &RgbaImage) -> RgbImage {
    let over = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        let scaled = (value * alpha + 255 * (255 - alpha)) * 128 + 0x80 * 128;
        ((((scaled >> 8) + scaled) >> 8) >> 7) as u8
    };
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, alpha] = image.get_pixel(x, y).0;
        image::Rgb([over(r, alpha), over(g, alpha), over(b, alpha)])
    })
}

/// Pillow's `convert("L")` of interleaved pixels, with the widest vectors of the processor.
struct Luma<'a>(&'a [u8]);

impl pulp::WithSimd for Luma<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Vec<u8> {
        let pixels = self.0.as_chunks::<3>().0;
        let mut values = vec![0; pixels.len()];
        for (value, [r, g, b]) in values.iter_mut().zip(pixels) {
            let weighted = u32::from(*r) * 19595 + u32::from(*g) * 38470 + u32::from(*b) * 7471;
            *value = ((weighted + 0x8000) >> 16) as u8;
        }
        values
    }
}

/// 16-bit masks come in two kinds: 8-bit values stored wide, kept as they are, and the full range, scaled. A label
/// is never scaled; what 8 bits cannot name is none of the labels, so background.
fn narrow(values: Vec<u16>, as_labels: bool) -> Vec<u8> {
    let wide = values.iter().any(|&v| v > 255);
    let one = |v: u16| match u8::try_from(v) {
        Ok(v) if as_labels || !wide => v,
        Err(_) if as_labels => 0,
        _ => ((u32::from(v) + 128) / 257) as u8,
    };
    values.into_iter().map(one).collect()
}

/// A bug that a damaged file finds in a decoder costs that file, not the run.
fn guarded<T>(decode: impl FnOnce() -> Result<T, PixelError>) -> Result<T, PixelError> {
    resect_caught::caught(decode)
        .unwrap_or_else(|| Err("the decoder gave up on it: the file is damaged".into()))
}

fn open(bytes: &[u8], max_pixels: u64) -> Result<(DynamicImage, bool), PixelError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(undecodable)?;
    match reader.format() {
        None => return Err(format!("it is not an image: {}", found_instead(bytes)).into()),
        Some(ImageFormat::Jpeg) if !jpeg_is_complete(bytes) => {
            return Err("cannot be decoded: the JPEG data is cut off".into());
        }
        Some(_) => {}
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_bytes(max_pixels));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(undecodable)?;
    upright(decoder, max_pixels)
}

/// Decodes once the size is known to be acceptable, and applies the EXIF orientation.
fn upright(mut decoder: impl ImageDecoder, max_pixels: u64) -> Result<(DynamicImage, bool), PixelError> {
    let (width, height) = decoder.dimensions();
    check_size(width, height, max_pixels)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    image.apply_orientation(orientation);
    Ok((image, orientation != Orientation::NoTransforms))
}

/// The indices of a palette PNG or BMP, which `image` would look up; `None` for everything else.
fn palette_indices(bytes: &[u8], max_pixels: u64) -> Result<Option<DynamicImage>, PixelError> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => png_indices(bytes, max_pixels),
        Ok(ImageFormat::Bmp) => {
            let mut decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(undecodable)?;
            if decoder.get_palette().is_none() {
                return Ok(None);
            }
            decoder.set_indexed_color(true);
            upright(decoder, max_pixels).map(|(image, _)| Some(image))
        }
        _ => Ok(None),
    }
}

fn png_indices(bytes: &[u8], max_pixels: u64) -> Result<Option<DynamicImage>, PixelError> {
    let limits = png::Limits { bytes: usize::try_from(max_bytes(max_pixels)).unwrap_or(usize::MAX) };
    let mut reader =
        png::Decoder::new_with_limits(Cursor::new(bytes), limits).read_info().map_err(undecodable)?;
    let (width, height) = (reader.info().width, reader.info().height);
    let (colour, depth) = reader.output_color_type();
    if colour != png::ColorType::Indexed {
        return Ok(None);
    }
    check_size(width, height, max_pixels)?;
    let size = reader.output_buffer_size().ok_or("it is too large")?;
    let mut packed = vec![0; size];
    let frame = reader.next_frame(&mut packed).map_err(undecodable)?;
    // Several indices share a byte, the leftmost in its highest bits; rows begin on a byte.
    let bits = depth as usize;
    let index = |row: &[u8], x: usize| {
        let at = x * bits;
        let shift = 8 - bits - at % 8;
        row[at / 8] >> shift & (0xff >> (8 - bits)) as u8
    };
    let values: Vec<u8> = packed
        .chunks_exact(frame.line_size)
        .take(height as usize)
        .flat_map(|row| (0..width as usize).map(move |x| index(row, x)))
        .collect();
    let indices = GrayImage::from_raw(width, height, values).ok_or("it holds too few pixels")?;
    let mut image = DynamicImage::ImageLuma8(indices);
    let exif = reader.info().exif_metadata.as_deref();
    image.apply_orientation(exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms));
    Ok(Some(image))
}

fn check_size(width: u32, height: u32, max_pixels: u64) -> Result<(), PixelError> {
    if width == 0 || height == 0 {
        return Err("it has no pixels".into());
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(PixelError::TooLarge { width, height, max: max_pixels });
    }
    Ok(())
}

/// What a decoder may allocate: 16-bit RGBA at the largest accepted size, and its tables.
fn max_bytes(max_pixels: u64) -> u64 {
    max_pixels.saturating_mul(8).saturating_add(64 << 20)
}

fn undecodable(error: impl std::fmt::Display) -> PixelError {
    format!("cannot be decoded: {error}").into()
}

/// The decoder fills what is missing of a JPEG with grey and says nothing. Within the compressed data of a scan,
/// 0xff is always followed by 0 or a restart marker, so an end marker after the last scan began is the real one.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let pair = |marker: u8| move |pair: &[u8]| pair == [0xff, marker];
    let scan = bytes.windows(2).rposition(pair(0xda));
    scan.is_some_and(|scan| bytes[scan..].windows(2).any(pair(0xd9)))
}

fn found_instead(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "the file is empty",
        b if b.starts_with(b"version https://git-lfs") => {
            "it is a Git LFS pointer, fetch the file with git lfs"
        }
        b if b.starts_with(b"<") => "it holds HTML or XML text",
        _ => "none of PNG, JPEG, TIFF, BMP and WebP",
    }
}

#[cfg(test)]
mod tests;
