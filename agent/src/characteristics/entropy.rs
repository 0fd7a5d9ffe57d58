//! Shannon entropy of a batch's first bytes.

/// Enough for two digits of the entropy; counting them takes some 50 µs.
const SAMPLE: usize = 64 << 10;

/// Bits a byte, 0 to 8.
pub(super) fn bits_a_byte(bytes: &[u8]) -> f64 {
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    // Two histograms: runs of one byte would otherwise wait for their own last store.
    let mut counts = [[0_u32; 256]; 2];
    for pair in sample.chunks(2) {
        counts[0][usize::from(pair[0])] += 1;
        if let [_, second] = pair {
            counts[1][usize::from(*second)] += 1;
        }
    }
    let total = sample.len().max(1) as f64;
    let [even, odd] = counts;
    let bits = even.iter().zip(odd).map(|(even, odd)| f64::from(even + odd) / total).filter(|share| *share > 0.0);
    bits.map(|share| -share * share.log2()).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_runs_from_one_byte_repeated_to_all_bytes_alike() {
        assert_eq!(bits_a_byte(&[7; 1001]), 0.0);
        let all: Vec<u8> = (0..=255).collect();
        assert!((bits_a_byte(&all) - 8.0).abs() < 1e-9);
        assert!((bits_a_byte(b"ababab") - 1.0).abs() < 1e-9);
        assert_eq!(bits_a_byte(b""), 0.0);
    }
}
