//! Newtypes for the units that cross module borders, with Kubernetes' quantity strings.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The system's clock. Only the edges call this: everything inside takes its time as a value.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_millis() as u64)
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `self` moved `by` into the future.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by.as_millis() as u64))
    }

    /// `self` moved `by` into the past; the epoch at the earliest.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by.as_millis() as u64))
    }

    /// `self` moved by milliseconds, into the past if they are negative.
    #[must_use]
    pub fn moved(self, ms: i64) -> Self {
        Self(self.0.saturating_add_signed(ms))
    }
}

/// Thousandths of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millicores(pub u64);

impl Millicores {
    /// As cores.
    pub fn cores(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// From cores, rounded up to a whole millicore; negative and NaN become zero.
    pub fn from_cores(cores: f64) -> Self {
        Self((cores.max(0.0) * 1000.0 - 1e-6).ceil() as u64)
    }
}

impl fmt::Display for Millicores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}

impl FromStr for Millicores {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError { text: text.to_owned(), expected: "a CPU quantity such as 500m or 1.5" };
        let (number, scale) = match text.strip_suffix('m') {
            Some(number) => (number, 1.0),
            None => (text, 1000.0),
        };
        let value = number.parse::<f64>().map_err(|_| error())? * scale;
        if !(0.0..=1e9).contains(&value) || !plain(number) {
            return Err(error());
        }
        Ok(Self(value.ceil() as u64))
    }
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
        for (unit, size) in UNITS {
            if self.0 >= size {
                return write!(f, "{:.1}{unit}", self.0 as f64 / size as f64);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const UNITS: [(&str, f64); 10] = [
            ("Ki", 1024.0),
            ("Mi", 1_048_576.0),
            ("Gi", 1_073_741_824.0),
            ("Ti", 1_099_511_627_776.0),
            ("k", 1e3),
            ("M", 1e6),
            ("G", 1e9),
            ("T", 1e12),
            ("m", 1e-3),
            ("", 1.0),
        ];
        let error = || QuantityError { text: text.to_owned(), expected: "a memory quantity such as 512Mi or 2Gi" };
        let (number, scale) =
            UNITS.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale))).ok_or_else(error)?;
        let value = number.parse::<f64>().map_err(|_| error())? * scale;
        if !(0.0..=1e18).contains(&value) || !plain(number) {
            return Err(error());
        }
        Ok(Self(value.ceil() as u64))
    }
}

/// Digits and at most a point: Rust would also read `inf`, `nan` and exponents.
fn plain(number: &str) -> bool {
    !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// A quantity string that Kubernetes would not take either.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct QuantityError {
    text: String,
    expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_kubernetes_reads_them() {
        assert_eq!("500m".parse::<Millicores>().unwrap(), Millicores(500));
        assert_eq!("1.5".parse::<Millicores>().unwrap(), Millicores(1500));
        assert_eq!("512Mi".parse::<Bytes>().unwrap(), Bytes(512 << 20));
        assert_eq!("1k".parse::<Bytes>().unwrap(), Bytes(1000));
        for bad in ["", "m", "-1", "nan", "inf", "1e3x", "1 Gi", "Gi"] {
            assert!(bad.parse::<Millicores>().is_err(), "{bad}");
            let error = bad.parse::<Bytes>().unwrap_err().to_string();
            assert!(error.contains("such as 512Mi"), "{error}");
        }
    }

    #[test]
    fn cores_round_up_so_that_a_need_is_never_cut() {
        assert_eq!(Millicores::from_cores(0.1), Millicores(100));
        assert_eq!(Millicores::from_cores(0.1001), Millicores(101));
        assert_eq!(Millicores::from_cores(f64::NAN), Millicores(0));
    }
}
