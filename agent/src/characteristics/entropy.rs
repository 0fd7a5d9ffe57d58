//! Shannon entropy of a batch's first bytes.

/// Enough for two digits of the entropy; counting them takes some 15 µs.
const SAMPLE: usize = 64 << 10;

/// Counts of the bytes, fed chunk by chunk.
#[derive(Debug)]
pub(super) struct Entropy {
    /// Four histograms: runs of one byte would otherwise wait for their own last store.
    counts: Box<[[u32; 256]; 4]>,
    seen: usize,
}

impl Default for Entropy {
    fn default() -> Self {
        Self { counts: Box::new([[0; 256]; 4]), seen: 0 }
    }
}

impl Entropy {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let sample = &bytes[..bytes.len().min(SAMPLE - self.seen)];
        let [a, b, c, d] = &mut *self.counts;
        let (fours, rest) = sample.as_chunks::<4>();
        for four in fours {
            a[usize::from(four[0])] += 1;
            b[usize::from(four[1])] += 1;
            c[usize::from(four[2])] += 1;
            d[usize::from(four[3])] += 1;
        }
        rest.iter().for_each(|byte| a[usize::from(*byte)] += 1);
        self.seen += sample.len();
    }

    /// Bits a byte, 0 to 8; nothing if there were no bytes.
    pub(super) fn bits_a_byte(&self) -> Option<f64> {
        let total = self.seen as f64;
        let count = |byte: usize| self.counts.iter().map(|counts| counts[byte]).sum::<u32>();
        let shares = (0..256).map(|byte| f64::from(count(byte)) / total).filter(|share| *share > 0.0);
        (self.seen > 0).then(|| shares.map(|share| -share * share.log2()).sum::<f64>().clamp(0.0, 8.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(bytes: &[u8]) -> Option<f64> {
        let mut entropy = Entropy::default();
        bytes.chunks(7).for_each(|chunk| entropy.push(chunk));
        entropy.bits_a_byte()
    }

    #[test]
    fn entropy_runs_from_one_byte_repeated_to_all_bytes_alike() {
        assert_eq!(bits(&[7; 1001]), Some(0.0));
        let all: Vec<u8> = (0..=255).collect();
        assert!((bits(&all).unwrap() - 8.0).abs() < 1e-9);
        assert!((bits(b"ababab").unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(bits(b""), None);
    }
}
