//! What a Content-Type claims, as far as it may break a tie.

use forebay_shared::DataType;

/// The claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    Json,
    Ndjson,
    Csv,
    Tsv,
    Text,
    Protobuf,
    Msgpack,
    /// No claim, or one that settles nothing.
    None,
}

impl Hint {
    pub(crate) fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" | "text/json" => Self::Json,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json-lines" => {
                Self::Ndjson
            }
            "text/csv" | "application/csv" => Self::Csv,
            "text/tab-separated-values" => Self::Tsv,
            "text/plain" => Self::Text,
            "application/x-protobuf" | "application/protobuf" | "application/vnd.google.protobuf" => Self::Protobuf,
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Self::Msgpack,
            other if other.ends_with("+json") => Self::Json,
            _ => Self::None,
        }
    }

    /// What a name's extension says, where a pushed batch would have said it by its Content-Type.
    pub(crate) fn content_type(extension: &str) -> Option<&'static str> {
        match extension.to_ascii_lowercase().as_str() {
            "json" => Some("application/json"),
            "ndjson" | "jsonl" => Some("application/x-ndjson"),
            "csv" => Some("text/csv"),
            "tsv" => Some("text/tab-separated-values"),
            "txt" => Some("text/plain"),
            "pb" => Some("application/x-protobuf"),
            "msgpack" | "mpk" => Some("application/msgpack"),
            _ => None,
        }
    }

    /// The type to record where the content was not looked at.
    pub(crate) fn claimed(self) -> DataType {
        match self {
            Self::Json => DataType::Json,
            Self::Ndjson => DataType::Ndjson,
            Self::Csv => DataType::Csv,
            Self::Tsv => DataType::Tsv,
            Self::Text => DataType::Text,
            Self::Protobuf => DataType::Protobuf,
            Self::Msgpack => DataType::Msgpack,
            Self::None => DataType::Binary,
        }
    }
}
