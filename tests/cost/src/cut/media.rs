//! Sizes of images and sounds: a corner or tiles, and the first seconds or all over again.

use std::io::Cursor;

use anyhow::{Result, bail};
use forebay_shared::DataType;
use hound::{WavReader, WavWriter};
use image::{ImageFormat, RgbImage};

use super::{Content, Size};

fn format(data_type: DataType) -> Result<ImageFormat> {
    Ok(match data_type {
        DataType::Png => ImageFormat::Png,
        DataType::Jpeg => ImageFormat::Jpeg,
        DataType::Gif => ImageFormat::Gif,
        DataType::Webp => ImageFormat::WebP,
        DataType::Tiff => ImageFormat::Tiff,
        DataType::Bmp => ImageFormat::Bmp,
        other => bail!("{other} is no image"),
    })
}

pub(super) fn encode(image: &RgbImage, data_type: DataType) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    image.write_to(&mut Cursor::new(&mut out), format(data_type)?)?;
    Ok(out)
}

pub(super) fn image(data_type: DataType, content: &[u8], size: Size) -> Result<Option<Vec<u8>>> {
    let whole = image::load_from_memory(content)?.into_rgb8();
    let (width, height) = whole.dimensions();
    let Some(pixels) = size.units(width as usize * height as usize) else { return Ok(None) };
    // As wide in proportion as the whole.
    let scale = (pixels as f64 / f64::from(width) / f64::from(height)).sqrt();
    let part = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let resized = RgbImage::from_fn(part(width), part(height), |x, y| *whole.get_pixel(x % width, y % height));
    encode(&resized, data_type).map(Some)
}

/// An image in each other format, and its pixels without one.
pub(super) fn rewritten(content: &Content) -> Vec<Content> {
    use DataType::{Bmp, Gif, Jpeg, Png, Tiff, Webp};
    let Ok(image) = image::load_from_memory(&content.bytes) else { return Vec::new() };
    let image = image.into_rgb8();
    let others = [Png, Jpeg, Gif, Webp, Tiff, Bmp].into_iter().filter(|other| *other != content.data_type);
    let images = others.filter_map(|other| Some(Content::new(other, encode(&image, other).ok()?)));
    images.chain([Content::new(DataType::Binary, image.as_raw().clone())]).collect()
}

pub(super) fn wav(content: &[u8], size: Size) -> Result<Option<Vec<u8>>> {
    let mut reader = WavReader::new(content)?;
    let spec = reader.spec();
    let samples = reader.samples::<i32>().collect::<Result<Vec<_>, _>>()?;
    let frames: Vec<_> = samples.chunks_exact(usize::from(spec.channels)).collect();
    let Some(frames) = size.pick(&frames) else { return Ok(None) };
    let mut out = Vec::new();
    let mut writer = WavWriter::new(Cursor::new(&mut out), spec)?;
    for sample in frames.concat() {
        writer.write_sample(sample)?;
    }
    writer.finalize()?;
    Ok(Some(out))
}
