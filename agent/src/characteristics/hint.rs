//! What a Content-Type claims, as far as it may break a tie.

use std::path::Path;

use forebay_shared::DataType;

/// The claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    Json,
    Ndjson,
    Csv,
    Tsv,
    Text,
    Xml,
    Yaml,
    Sql,
    Log,
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
            "application/xml" | "text/xml" => Self::Xml,
            "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Self::Yaml,
            "application/sql" | "application/x-sql" | "text/x-sql" => Self::Sql,
            "text/x-log" | "application/x-log" => Self::Log,
            "application/x-protobuf" | "application/protobuf" | "application/vnd.google.protobuf" => Self::Protobuf,
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Self::Msgpack,
            other if other.ends_with("+json") => Self::Json,
            other if other.ends_with("+xml") => Self::Xml,
            other if other.ends_with("+yaml") => Self::Yaml,
            _ => Self::None,
        }
    }

    /// What a file's name says, where a pushed batch would have said it by its Content-Type.
    pub(crate) fn content_type_of(name: &Path) -> Option<&'static str> {
        let extension = name.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            // What is within is named before.
            "gz" | "zst" | "bz2" | "xz" | "lz4" | "sz" | "snappy" => {
                Self::content_type_of(Path::new(name.file_stem()?))
            }
            extension => Self::content_type(extension),
        }
    }

    /// What a name's extension says.
    pub(crate) fn content_type(extension: &str) -> Option<&'static str> {
        match extension.to_ascii_lowercase().as_str() {
            "json" => Some("application/json"),
            "ndjson" | "jsonl" => Some("application/x-ndjson"),
            "csv" => Some("text/csv"),
            "tsv" => Some("text/tab-separated-values"),
            "txt" => Some("text/plain"),
            "xml" => Some("application/xml"),
            "yaml" | "yml" => Some("application/yaml"),
            "sql" => Some("application/sql"),
            "log" => Some("text/x-log"),
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
            Self::Xml => DataType::Xml,
            Self::Yaml => DataType::Yaml,
            Self::Sql => DataType::Sql,
            Self::Log => DataType::Log,
            Self::Protobuf => DataType::Protobuf,
            Self::Msgpack => DataType::Msgpack,
            Self::None => DataType::Binary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_within_a_compression_counts() {
        assert_eq!(Hint::content_type_of(Path::new("a/b.csv.GZ")), Some("text/csv"));
        assert_eq!(Hint::content_type_of(Path::new("b.gz")), None);
    }
}
