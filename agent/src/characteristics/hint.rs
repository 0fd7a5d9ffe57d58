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
    Xml,
    Yaml,
    Sql,
    Log,
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
            other if other.ends_with("+json") => Self::Json,
            other if other.ends_with("+xml") => Self::Xml,
            other if other.ends_with("+yaml") => Self::Yaml,
            _ => Self::None,
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
            Self::None => DataType::Binary,
        }
    }
}
