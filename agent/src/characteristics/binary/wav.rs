//! WAV, in RIFF, RIFX, RF64 and BW64: samples a channel from the chunks' sizes.

use super::cursor::Cursor;
use super::{Detail, Facts, Held};

/// Chunks that are walked.
const MOST_CHUNKS: u32 = 10_000;
/// The size of what is not known yet, or stands in `ds64`.
const UNKNOWN: u64 = u32::MAX as u64;

#[derive(Default)]
struct Sound {
    format: u64,
    channels: u64,
    rate: u64,
    bytes_a_second: u64,
    block: u64,
    bits: u64,
    /// Samples a channel, as the chunk `fact` tells them.
    told: Option<u64>,
    /// Sizes of the data and samples, from `ds64`.
    long: Option<(u64, u64)>,
    /// Bytes of the data: claimed, and there.
    data: Option<(u64, u64)>,
}

pub(super) fn facts(held: &Held<'_>) -> Facts {
    let big_endian = held.head().starts_with(b"RIFX");
    let mut sound = Sound::default();
    let mut at = 12_u64;
    let mut missing = false;
    for _ in 0..MOST_CHUNKS {
        let Some(head) = held.at(at, 8) else {
            missing = held.is_cut() && at.saturating_add(8) <= held.total();
            break;
        };
        let mut length = number(&head[4..], 4, big_endian);
        let start = at + 8;
        if &head[..4] == b"data" {
            length = sound.long.map_or(length, |(bytes, _)| if length == UNKNOWN { bytes } else { length });
            let left = held.total() - start;
            // A writer to a pipe does not know the size: it is then all that follows.
            let unknown = length == UNKNOWN || length == 0 && left > 0 && sound.block > 0 && sound.told.is_none();
            sound.data = Some(if unknown { (left, left) } else { (length, length.min(left)) });
        } else {
            let known = length.min(64) as usize;
            sound.chunk(&head[..4], held.onwards(start).get(..known).unwrap_or_default(), big_endian);
        }
        if sound.data.is_some() && (sound.is_plain() || sound.told.is_some()) {
            break;
        }
        at = start.saturating_add(length).saturating_add(length % 2);
    }
    sound.facts(missing)
}

fn number(bytes: &[u8], len: u64, big_endian: bool) -> u64 {
    let mut cursor = Cursor::new(bytes);
    if big_endian { cursor.big(len) } else { cursor.little(len) }.unwrap_or(0)
}

impl Sound {
    fn chunk(&mut self, kind: &[u8], bytes: &[u8], big_endian: bool) {
        let field = |at: usize, len| number(bytes.get(at..).unwrap_or_default(), len, big_endian);
        match kind {
            b"fmt " => {
                (self.format, self.channels, self.rate) = (field(0, 2), field(2, 2), field(4, 4));
                (self.bytes_a_second, self.block, self.bits) = (field(8, 4), field(12, 2), field(14, 2));
                // WAVE_FORMAT_EXTENSIBLE: the format is the first of its GUID.
                if self.format == 0xfffe {
                    self.format = field(24, 2);
                }
            }
            b"fact" => self.told = Some(field(0, 4)).filter(|samples| *samples != UNKNOWN),
            b"ds64" => self.long = Some((field(8, 8), field(16, 8))),
            _ => {}
        }
    }

    /// PCM, floats, A-law and µ-law: a block is one sample of each channel.
    fn is_plain(&self) -> bool {
        matches!(self.format, 1 | 3 | 6 | 7)
    }

    fn facts(&self, missing: bool) -> Facts {
        let there = self.data.map(|(_, there)| there);
        let samples = match there {
            Some(there) if self.is_plain() => there.checked_div(self.block),
            // Packed samples: as told, or by the rates.
            Some(there) => {
                self.told.or(self.long.map(|(_, samples)| samples).filter(|samples| *samples > 0)).or_else(|| {
                    (u128::from(there) * u128::from(self.rate))
                        .checked_div(u128::from(self.bytes_a_second))?
                        .try_into()
                        .ok()
                })
            }
            None => None,
        };
        let cut = self.data.is_some_and(|(claimed, there)| claimed > there);
        let problem = if self.channels == 0 || self.rate == 0 {
            (!missing).then_some("the WAV tells no channels or no rate")
        } else if cut {
            Some("cut short: the WAV claims more samples than there are")
        } else {
            (self.data.is_none() && !missing).then_some("cut short: the WAV has no samples")
        };
        let some = |number: u64| (number > 0).then(|| u32::try_from(number).unwrap_or(u32::MAX));
        Facts {
            records: samples,
            columns: some(self.channels),
            detail: Detail {
                channels: some(self.channels),
                bit_depth: some(self.bits),
                sample_rate: some(self.rate),
                seconds: samples.filter(|_| self.rate > 0).map(|samples| samples as f64 / self.rate as f64),
                ..Detail::default()
            },
            estimated: Some(missing),
            ..Facts::maybe(problem)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn format(format: u16, channels: u16, bits: u16) -> Vec<u8> {
        let block = channels * bits / 8;
        let mut bytes = [b"fmt \x10\0\0\0", &format.to_le_bytes()[..], &channels.to_le_bytes()].concat();
        bytes.extend(8000_u32.to_le_bytes());
        bytes.extend((8000 * u32::from(block)).to_le_bytes());
        bytes.extend([block.to_le_bytes(), bits.to_le_bytes()].concat());
        bytes
    }

    fn chunk(kind: &[u8], claimed: u32, bytes: &[u8]) -> Vec<u8> {
        [kind, &claimed.to_le_bytes(), bytes].concat()
    }

    pub(in super::super) fn file() -> Vec<u8> {
        let odd = chunk(b"LIST", 3, b"abc\0");
        [&b"RIFF\x40\0\0\0WAVE"[..], &odd, &format(1, 2, 16), &chunk(b"data", 400, &[0; 400])].concat()
    }

    fn of(bytes: &[u8]) -> Facts {
        facts(&Held::new(bytes, &[], bytes.len() as u64))
    }

    #[test]
    fn samples_a_channel_come_from_the_datas_size_past_odd_chunks() {
        let found = of(&file());
        assert_eq!((found.records, found.columns, found.problem), (Some(100), Some(2), None));
        assert_eq!((found.detail.sample_rate, found.detail.bit_depth), (Some(8000), Some(16)));
        assert_eq!(found.detail.seconds, Some(0.0125));
    }

    #[test]
    fn long_streamed_big_endian_and_packed_sounds_are_counted_too() {
        let long = [400_u64.to_le_bytes(), 400_u64.to_le_bytes(), 100_u64.to_le_bytes(), [0; 8]].concat();
        let data = |claimed| chunk(b"data", claimed, &[0; 400]);
        let rf64 = [&b"RF64\xff\xff\xff\xffWAVE"[..], &chunk(b"ds64", 32, &long), &format(1, 2, 16), &data(u32::MAX)];
        let piped = [&b"RIFF\xff\xff\xff\xffWAVE"[..], &format(1, 1, 8), &data(u32::MAX)];
        let adpcm = [&b"RIFF\0\0\0\0WAVE"[..], &format(17, 1, 4), &chunk(b"fact", 4, &[0x21, 3, 0, 0]), &data(400)];
        let rifx = [
            &b"RIFX\0\0\0\0WAVEfmt \0\0\0\x10\0\x01\0\x01\0\0\x1f\x40\0\0\x3e\x80\0\x02\0\x10data\0\0\0\x08"[..],
            &[0; 8],
        ];
        for (bytes, samples) in [(rf64.concat(), 100), (piped.concat(), 400), (adpcm.concat(), 801), (rifx.concat(), 4)]
        {
            let found = of(&bytes);
            assert_eq!((found.records, found.problem), (Some(samples), None));
        }
    }

    #[test]
    fn samples_that_are_not_there_are_told_and_a_cut_view_is_no_fault() {
        let bytes = file();
        assert!(of(&bytes[..bytes.len() - 100]).problem.unwrap().contains("cut short"));
        let view = facts(&Held::new(&bytes[..bytes.len() - 100], &[], bytes.len() as u64));
        assert_eq!((view.records, view.problem, view.estimated), (Some(100), None, Some(false)));
    }
}
