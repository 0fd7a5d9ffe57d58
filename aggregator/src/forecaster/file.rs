//! Models on disk: a header of our own, so that a model outlives the library that trained it.
//!
//! `"FBMD"`, version (u16), kind (u8: 0 LSTM), zero, CRC-32C of what follows (u32), bincode. Little-endian.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};

use super::Lstm;

const MAGIC: &[u8; 4] = b"FBMD";
const VERSION: u16 = 1;
const KIND_LSTM: u8 = 0;
const HEADER_LEN: usize = 12;
/// Far above any model of ours, far below what would hurt.
const MAX_LEN: usize = 64 << 20;
const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_LEN>> = bincode::config::standard().with_limit::<MAX_LEN>();

/// Bytes that are no model of this build.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelFileError {
    /// Not a model at all.
    #[error("not a model: expected the magic `FBMD` and a header of {HEADER_LEN} bytes")]
    Magic,
    /// From another build.
    #[error("model version {0}, kind {1} is unknown: this build reads version 1, kind 0 (LSTM)")]
    Unknown(u16, u8),
    /// Damaged.
    #[error("model is damaged: {0}")]
    Damaged(String),
}

/// The model as bytes.
pub fn encode(model: &Lstm) -> Vec<u8> {
    let body = bincode::encode_to_vec(model, CONFIG).expect("a model in memory is within the limit and encodes");
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[KIND_LSTM, 0]);
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// The model of the bytes.
///
/// # Errors
/// [`ModelFileError`] on anything that [`encode`] did not write.
pub fn decode(bytes: &[u8]) -> Result<Lstm, ModelFileError> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Err(ModelFileError::Magic) };
    if &header[..4] != MAGIC {
        return Err(ModelFileError::Magic);
    }
    let (version, kind) = (u16::from_le_bytes([header[4], header[5]]), header[6]);
    if (version, kind) != (VERSION, KIND_LSTM) {
        return Err(ModelFileError::Unknown(version, kind));
    }
    let expected = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if crc32c::crc32c(body) != expected {
        return Err(ModelFileError::Damaged("its checksum does not hold".into()));
    }
    let (model, _) =
        bincode::decode_from_slice(body, CONFIG).map_err(|error| ModelFileError::Damaged(error.to_string()))?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{CHANNELS, Dataset};
    use crate::forecaster::{Settings, challenge};

    #[test]
    fn a_model_forecasts_the_same_after_a_restart_and_a_damaged_one_is_refused() {
        let mut data = Dataset { step_ms: 1000, ..Dataset::default() };
        for at in 0..250 {
            let value = (at % 10) as f32;
            data.inputs.push([value; CHANNELS]);
            data.targets.push([value; 4]);
        }
        let settings = Settings { steps: 5, ..Settings::default() };
        let model = challenge(&data, settings, None).unwrap().unwrap().model;
        let mut bytes = encode(&model);
        assert!(bytes.len() < 150_000, "{} bytes", bytes.len());
        assert_eq!(decode(&bytes).unwrap().predict(&data), model.predict(&data));

        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(matches!(decode(&bytes), Err(ModelFileError::Damaged(_))));
        bytes[4] = 9;
        assert_eq!(decode(&bytes), Err(ModelFileError::Unknown(9, 0)));
        assert_eq!(decode(b"FBMD"), Err(ModelFileError::Magic));
    }
}
