//! How values become the bytes of a row: bincode, in an LZ4 block where that is shorter, as on the wire.
//!
//! Another layout of the values takes a new codec number; rows of the old ones read on.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use forebay_shared::frame::MAX_BODY;

const STORED: u8 = 0;
const LZ4: u8 = 1;
/// Values shorter than this are stored: LZ4 would not shrink them.
const COMPRESS_FROM: usize = 128;

/// bincode counts values as they are in memory: a sample there takes up to 20 times what it takes packed.
const DECODED: usize = 32 * MAX_BODY;

/// A block holds a part of one frame's body, so no more than that.
const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODED>> = bincode::config::standard().with_limit::<DECODED>();

/// A value as a row holds it.
pub(super) struct Packed {
    pub(super) codec: u8,
    pub(super) data: Vec<u8>,
}

/// Packs a value; an error if it is longer than a row may be.
pub(super) fn pack<T: Encode>(value: &T) -> Result<Packed, String> {
    let plain = bincode::encode_to_vec(value, CONFIG).map_err(|error| error.to_string())?;
    if plain.len() > MAX_BODY {
        return Err(format!("{} bytes are longer than the {MAX_BODY} allowed", plain.len()));
    }
    if plain.len() >= COMPRESS_FROM {
        let packed = lz4_flex::block::compress_prepend_size(&plain);
        if packed.len() < plain.len() {
            return Ok(Packed { codec: LZ4, data: packed });
        }
    }
    Ok(Packed { codec: STORED, data: plain })
}

/// Unpacks a value; total on any input, in bounded memory.
pub(super) fn unpack<T: Decode<()>>(codec: u8, data: &[u8]) -> Result<T, String> {
    match codec {
        STORED => decode(data),
        LZ4 => {
            let (plain_len, packed) = lz4_flex::block::uncompressed_size(data).map_err(|error| error.to_string())?;
            if plain_len > MAX_BODY {
                return Err(format!("{plain_len} bytes are longer than the {MAX_BODY} allowed"));
            }
            decode(&lz4_flex::block::decompress(packed, plain_len).map_err(|error| error.to_string())?)
        }
        codec => Err(format!("codec {codec} is unknown: expected 0 or 1")),
    }
}

fn decode<T: Decode<()>>(plain: &[u8]) -> Result<T, String> {
    match bincode::decode_from_slice(plain, CONFIG) {
        Ok((value, used)) if used == plain.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes are left over", plain.len() - used)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_reads_back_short_or_long() {
        for len in [0, 10, 10_000] {
            let value: Vec<u64> = (0..len).map(|number| number / 100).collect();
            let packed = pack(&value).unwrap();
            assert_eq!(packed.codec, if len < 100 { STORED } else { LZ4 });
            assert_eq!(unpack::<Vec<u64>>(packed.codec, &packed.data).unwrap(), value);
        }
    }

    #[test]
    fn a_few_bytes_cannot_announce_a_long_value() {
        let error = unpack::<Vec<u64>>(LZ4, &u32::MAX.to_le_bytes()).unwrap_err();
        assert!(error.contains("longer than"), "{error}");
    }

    proptest! {
        #[test]
        fn unpacking_is_total(codec in 0..3u8, data: Vec<u8>) {
            let _ = unpack::<Vec<String>>(codec, &data);
        }
    }
}
