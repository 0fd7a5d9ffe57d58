//! The wire between agent and aggregator: numbered, checksummed, compressed frames, many to a request.
//!
//! ```text
//! offset size  header, little-endian
//!      0    4  magic "FBAY"
//!      4    2  schema version of the body
//!      6    1  codec of the body: 0 stored, 1 LZ4 block
//!      7    1  zero
//!      8   16  boot id: drawn when the agent starts
//!     24    8  sequence: counts the frames of a boot from 0
//!     32    8  first retained sequence: what lies before it was given up, so a gap is known to be one
//!     40    4  length of the body as sent
//!     44    4  length of the body unpacked
//!     48    4  CRC-32C of the header's first 48 bytes and the body
//!     52       body: bincode, compressed
//! ```
//!
//! Whose frame it is comes from the authenticated sender, never from the frame. Every schema that was ever released
//! decodes for good: `tests` below holds golden bytes. Another codec would touch this file alone.

use std::fmt;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use crate::{BatchArrival, BatchProgress, ResourceSample, Timestamp};

const MAGIC: [u8; 4] = *b"FBAY";
const SCHEMA: u16 = 1;
const STORED: u8 = 0;
const LZ4: u8 = 1;
/// The header of a request of frames that tells when it was sent: milliseconds since the epoch, by the agent's own clock.
/// What the aggregator's clock says beside it is how far the two are apart.
pub const SENT_AT: &str = "forebay-sent-at";
/// Length of a frame's header.
pub const HEADER_LEN: usize = 52;
/// The longest body, as sent and unpacked. An agent ships seconds of samples: kilobytes.
pub const MAX_BODY: usize = 4 << 20;
/// Bodies shorter than this are stored: LZ4 would not shrink them.
const COMPRESS_FROM: usize = 128;

/// The most memory that a body takes once decoded: a sample of absent values is 30 bytes in a body and 500 in memory.
const MAX_DECODED: usize = 16 * MAX_BODY;
const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_DECODED>> =
    bincode::config::standard().with_limit::<MAX_DECODED>();

/// Drawn at random when an agent starts: the frames of one run of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u128);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a frame carries.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Content {
    /// When the agent closed the frame, by its own clock.
    pub closed_at: Timestamp,
    /// How the samples were taken, such as `cgroup-v2`.
    pub sampling: String,
    /// Samples, oldest first.
    pub samples: Vec<ResourceSample>,
    /// Batches that arrived.
    pub arrivals: Vec<BatchArrival>,
    /// What became of batches.
    pub progress: Vec<BatchProgress>,
}

/// One numbered frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Which run of the agent.
    pub boot: BootId,
    /// Which frame of that run, from 0.
    pub sequence: u64,
    /// The oldest frame of that run that the agent still had when it encoded this one.
    pub first_retained: u64,
    /// What it carries.
    pub content: Content,
}

/// What a frame's header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which run of the agent.
    pub boot: BootId,
    /// Which frame of that run.
    pub sequence: u64,
    /// The oldest frame of that run that was still there.
    pub first_retained: u64,
    /// Bytes of the whole frame.
    pub len: usize,
    /// Bytes of its body, unpacked.
    pub unpacked: usize,
}

impl Header {
    /// Reads the header of the first frame of `input`. The body need not be there, and nothing is checked but the
    /// magic and the bounds.
    ///
    /// # Errors
    /// [`FrameError`] where there is no header of a frame.
    pub fn read(input: &[u8]) -> Result<Self, FrameError> {
        let Some((header, _)) = input.split_first_chunk::<HEADER_LEN>() else {
            return Err(FrameError::Truncated { have: input.len(), need: HEADER_LEN });
        };
        let magic = field::<4>(header, 0);
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let body_len = u32::from_le_bytes(field(header, 40)) as usize;
        let plain_len = u32::from_le_bytes(field(header, 44)) as usize;
        if body_len.max(plain_len) > MAX_BODY {
            return Err(FrameError::TooLong(body_len.max(plain_len)));
        }
        Ok(Self {
            boot: BootId(u128::from_le_bytes(field(header, 8))),
            sequence: u64::from_le_bytes(field(header, 24)),
            first_retained: u64::from_le_bytes(field(header, 32)),
            len: HEADER_LEN + body_len,
            unpacked: plain_len,
        })
    }

    /// Reads the header of the first frame of `input`, and checks that the frame is whole and undamaged.
    ///
    /// # Errors
    /// [`FrameError`] where it is not.
    pub fn check(input: &[u8]) -> Result<Self, FrameError> {
        let header = Self::read(input)?;
        let Some(frame) = input.get(..header.len) else {
            return Err(FrameError::Truncated { have: input.len(), need: header.len });
        };
        let mut told = [0; 4];
        told.copy_from_slice(&frame[48..HEADER_LEN]);
        let (found, expected) = (checksum(&frame[..48], &frame[HEADER_LEN..]), u32::from_le_bytes(told));
        if found == expected { Ok(header) } else { Err(FrameError::Checksum { found, expected }) }
    }

    /// The header of an encoded frame, changed to tell another first retained sequence. Costs one pass over the frame,
    /// at the speed of CRC-32C.
    pub fn retaining_from(frame: &[u8], first_retained: u64) -> Option<[u8; HEADER_LEN]> {
        let (header, body) = frame.split_first_chunk::<HEADER_LEN>()?;
        let mut header = *header;
        header[32..40].copy_from_slice(&first_retained.to_le_bytes());
        let checksum = checksum(&header[..48], body);
        header[48..].copy_from_slice(&checksum.to_le_bytes());
        Some(header)
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), body)
}

/// Bytes that are no frame. `offset` in the messages counts from the start of the input.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The input ends within a frame.
    #[error("frame cut short: {have} bytes where {need} were announced")]
    Truncated {
        /// Bytes there.
        have: usize,
        /// Bytes announced.
        need: usize,
    },
    /// Not a frame.
    #[error("not a frame: it starts with {0:02x?}, expected the magic `FBAY`")]
    Magic([u8; 4]),
    /// A schema from the future, or none.
    #[error("frame schema {0} is unknown: this build reads schema 1; upgrade the aggregator before the agents")]
    Schema(u16),
    /// An unknown codec.
    #[error("frame codec {0} is unknown: expected 0 (stored) or 1 (LZ4)")]
    Codec(u8),
    /// A body longer than allowed.
    #[error("frame body of {0} bytes is longer than the {MAX_BODY} allowed")]
    TooLong(usize),
    /// Damaged on the way.
    #[error("frame checksum is {found:08x}, expected {expected:08x}: the bytes were damaged on the way")]
    Checksum {
        /// The checksum of the bytes.
        found: u32,
        /// The checksum that the header tells.
        expected: u32,
    },
    /// The checksum holds, but the body does not decode.
    #[error("frame body does not decode: {0}")]
    Body(String),
}

impl Frame {
    /// Encodes the frame.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] if the content does not fit into [`MAX_BODY`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let plain =
            bincode::encode_to_vec(&self.content, CONFIG).map_err(|error| FrameError::Body(error.to_string()))?;
        if plain.len() > MAX_BODY {
            return Err(FrameError::TooLong(plain.len()));
        }
        let packed = if plain.len() < COMPRESS_FROM { None } else { Some(lz4_flex::block::compress(&plain)) };
        let (codec, body) = match &packed {
            Some(packed) if packed.len() < plain.len() => (LZ4, packed),
            _ => (STORED, &plain),
        };
        let mut out = Vec::with_capacity(HEADER_LEN + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&SCHEMA.to_le_bytes());
        out.extend_from_slice(&[codec, 0]);
        out.extend_from_slice(&self.boot.0.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.first_retained.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&out), body);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(body);
        Ok(out)
    }

    /// Decodes the first frame of `input`, and gives the rest of it.
    ///
    /// # Errors
    /// [`FrameError`], on any input that is not a whole, intact frame of a known schema.
    pub fn decode(input: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        let Header { boot, sequence, first_retained, len, .. } = Header::check(input)?;
        let (frame, rest) = input.split_at(len);
        let Some((header, body)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return Err(FrameError::Truncated { have: len, need: HEADER_LEN });
        };
        // Behind the checksum: a damaged frame must not pass for one of the future.
        let schema = u16::from_le_bytes(field(header, 4));
        if schema != SCHEMA {
            return Err(FrameError::Schema(schema));
        }
        let content = match header[6] {
            STORED => decode_body(body)?,
            LZ4 => {
                let plain_len = u32::from_le_bytes(field(header, 44)) as usize;
                let plain = lz4_flex::block::decompress(body, plain_len)
                    .map_err(|error| FrameError::Body(error.to_string()))?;
                decode_body(&plain)?
            }
            codec => return Err(FrameError::Codec(codec)),
        };
        Ok((Self { boot, sequence, first_retained, content }, rest))
    }

    /// Decodes all frames of a request's body.
    ///
    /// # Errors
    /// The first frame's that does not decode, with its index.
    pub fn decode_all(mut input: &[u8]) -> Result<Vec<Self>, (usize, FrameError)> {
        let mut frames = Vec::new();
        while !input.is_empty() {
            let (frame, rest) = Self::decode(input).map_err(|error| (frames.len(), error))?;
            frames.push(frame);
            input = rest;
        }
        Ok(frames)
    }
}

fn decode_body(plain: &[u8]) -> Result<Content, FrameError> {
    let (content, used) =
        bincode::decode_from_slice(plain, CONFIG).map_err(|error| FrameError::Body(error.to_string()))?;
    if used != plain.len() {
        return Err(FrameError::Body(format!("{} bytes are left over", plain.len() - used)));
    }
    Ok(content)
}

fn field<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Backlog, Bytes, Compression, DataCharacteristics, DataComplexity, DataType, DataVolume, Millicores, Outcome,
    };
    use proptest::prelude::*;

    fn frame() -> Frame {
        let sample = ResourceSample {
            at: Timestamp(1_700_000_000_000),
            interval_ms: 1000,
            cpu_us: Some(250_000),
            cpu_quota: Some(Millicores(500)),
            memory: Some(Bytes(64 << 20)),
            backlog: Some(Backlog { waiting: 3, waiting_bytes: 4096, oldest_wait_ms: 120, in_service: 1 }),
            ..ResourceSample::default()
        };
        let arrival = BatchArrival {
            batch_id: 7,
            arrived_at: Timestamp(1_699_999_999_500),
            characteristics: DataCharacteristics {
                data_volume: DataVolume { bytes: 2048, unpacked_bytes: None, records: Some(5) },
                data_complexity: DataComplexity { score: 1.5, max_depth: Some(3), ..DataComplexity::default() },
                data_type: DataType::Ndjson,
                compression: Compression::None,
                estimated: false,
            },
        };
        let progress = BatchProgress {
            batch_id: 7,
            started_at: Some(Timestamp(1_699_999_999_600)),
            finished_at: None,
            outcome: Outcome::Pending,
        };
        Frame {
            boot: BootId(0x0123_4567_89ab_cdef),
            sequence: 42,
            first_retained: 40,
            content: Content {
                closed_at: Timestamp(1_700_000_000_001),
                sampling: "cgroup-v2".into(),
                samples: vec![sample.clone(), sample],
                arrivals: vec![arrival],
                progress: vec![progress],
            },
        }
    }

    #[test]
    fn schema_1_decodes_for_good() {
        let golden = include_bytes!("frame/schema1.bin");
        assert_eq!(Frame::decode(golden).unwrap(), (frame(), &[][..]));
    }

    #[test]
    fn many_frames_travel_in_one_body() {
        let mut body = frame().encode().unwrap();
        body.extend(Frame::default().encode().unwrap());
        assert_eq!(Frame::decode_all(&body).unwrap(), vec![frame(), Frame::default()]);
    }

    #[test]
    fn what_encodes_decodes_however_many_samples_it_holds() {
        let samples = vec![frame().content.samples[0].clone(); 60_000];
        let many = Frame { content: Content { samples, ..Content::default() }, ..Frame::default() };
        assert_eq!(Frame::decode(&many.encode().unwrap()).unwrap().0, many);
        let samples = vec![frame().content.samples[0].clone(); 600_000];
        let too_many = Frame { content: Content { samples, ..Content::default() }, ..Frame::default() };
        assert!(matches!(too_many.encode(), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn a_damaged_frame_is_told_from_its_neighbours() {
        let mut body = frame().encode().unwrap();
        let second = body.len();
        body.extend(frame().encode().unwrap());
        body[second + HEADER_LEN + 3] ^= 1;
        assert!(matches!(Frame::decode_all(&body), Err((1, FrameError::Checksum { .. }))));
    }

    #[test]
    fn a_frame_of_the_future_is_told_from_a_damaged_one() {
        let mut bytes = frame().encode().unwrap();
        bytes[4] ^= 2;
        assert!(matches!(Frame::decode(&bytes), Err(FrameError::Checksum { .. })));
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..48]), &bytes[HEADER_LEN..]);
        bytes[48..52].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Frame::decode(&bytes), Err(FrameError::Schema(3)));
    }

    #[test]
    fn a_header_is_read_checked_and_changed_without_its_body_being_decoded() {
        let bytes = frame().encode().unwrap();
        let header = Header::check(&bytes).unwrap();
        assert_eq!((header.boot, header.sequence, header.first_retained), (frame().boot, 42, 40));
        assert_eq!(header.len, bytes.len());
        assert!(matches!(Header::check(&bytes[..bytes.len() - 1]), Err(FrameError::Truncated { .. })));
        let changed = [&Header::retaining_from(&bytes, 42).unwrap()[..], &bytes[HEADER_LEN..]].concat();
        assert_eq!(Frame::decode(&changed).unwrap().0, Frame { first_retained: 42, ..frame() });
        let mut damaged = changed;
        damaged[HEADER_LEN] ^= 1;
        assert!(matches!(Header::check(&damaged), Err(FrameError::Checksum { .. })));
    }

    #[test]
    fn a_small_body_cannot_announce_a_large_one() {
        let mut bytes = frame().encode().unwrap();
        bytes[44..48].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Frame::decode(&bytes), Err(FrameError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn any_single_flipped_bit_is_found(at in 0..8 * 200usize) {
            let mut bytes = frame().encode().unwrap();
            let at = at % (8 * bytes.len());
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert!(Frame::decode(&bytes).is_err());
        }

        #[test]
        fn decoding_is_total(bytes: Vec<u8>, keep in 0..300usize) {
            let _ = Frame::decode_all(&bytes);
            let whole = frame().encode().unwrap();
            let _ = Frame::decode_all(&whole[..keep.min(whole.len())]);
            // Behind a valid checksum too: what the codec alone must survive.
            let _ = decode_body(&bytes);
        }
    }
}
