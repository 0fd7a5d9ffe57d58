//! Processors of images and sounds.

use anyhow::Result;

/// Mean of the brightness and its histogram's spread.
pub(super) fn image(content: &[u8]) -> Result<f64> {
    let pixels = image::load_from_memory(content)?.into_rgb8();
    Ok(histogram(pixels.pixels().map(|pixel| {
        let [red, green, blue] = pixel.0.map(u32::from);
        ((2 * red + 5 * green + blue) / 8) as u8
    })))
}

/// Mean square and peak of each channel.
pub(super) fn wav(content: &[u8]) -> Result<f64> {
    let mut reader = hound::WavReader::new(content)?;
    let channels = usize::from(reader.spec().channels);
    let mut sums = vec![(0.0, 0); channels];
    for (at, sample) in reader.samples::<i32>().enumerate() {
        let (sample, (square, peak)) = (sample?, &mut sums[at % channels]);
        *square += f64::from(sample).powi(2);
        *peak = sample.abs().max(*peak);
    }
    Ok(sums.into_iter().map(|(square, peak)| square + f64::from(peak)).sum())
}

/// Mean, and how many values there are at all.
pub(super) fn histogram(values: impl Iterator<Item = u8>) -> f64 {
    let mut counts = [0_u64; 256];
    values.for_each(|value| counts[usize::from(value)] += 1);
    let all: u64 = counts.iter().sum();
    let sum: u64 = (0..).zip(counts).map(|(value, count)| value * count).sum();
    sum as f64 / all.max(1) as f64 + counts.iter().filter(|count| **count > 0).count() as f64
}
