//! The batches: each valid sample file whole, cut and copied, rewritten in another format, and packed.

use std::path::Path;

use anyhow::{Context, Result};
use forebay_agent::Inspector;
use forebay_shared::{Compression, DataCharacteristics, DataType};

use crate::cut::{self, Content};
use crate::{pack, process};

/// Files of one source under several names. Other files are of the source that their name starts with.
const SOURCES: &[(&str, &str)] = &[
    ("flower_", "flower"),
    ("job_", "job"),
    ("three_csv_parts", "seattle_temps"),
    ("tpcds_q", "tpcds queries"),
    ("tpch_q", "tpch queries"),
];

/// Compressions that text and records are packed in, in turn.
const PACKED: &[Compression] = &[
    Compression::Gzip,
    Compression::Zstd,
    Compression::Bzip2,
    Compression::Xz,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zip,
];

/// A batch and what the agent tells of it.
pub(crate) struct Batch {
    /// What it was made of.
    pub(crate) source: String,
    /// The file and what was done to it.
    pub(crate) name: String,
    /// What it is, whatever the agent takes it for.
    pub(crate) data_type: DataType,
    pub(crate) compression: Compression,
    pub(crate) delimiter: u8,
    pub(crate) bytes: Vec<u8>,
    pub(crate) vector: DataCharacteristics,
}

impl Batch {
    fn new(file: &File, size: &str, content: &Content, compression: Compression, bytes: Vec<u8>) -> Self {
        let packed = if compression == Compression::None { "" } else { compression.as_str() };
        let mut inspector = Inspector::exact(content_type(content.data_type));
        inspector.push(&bytes);
        Self {
            source: file.source.clone(),
            name: format!("{} {} {size} {packed}", file.name, content.data_type).trim_end().to_owned(),
            data_type: content.data_type,
            compression,
            delimiter: content.delimiter,
            vector: inspector.finish().characteristics,
            bytes,
        }
    }
}

/// What a producer would say of a type that is hard to tell without.
fn content_type(data_type: DataType) -> Option<&'static str> {
    match data_type {
        DataType::Protobuf => Some("application/x-protobuf"),
        DataType::Msgpack => Some("application/msgpack"),
        _ => None,
    }
}

struct File {
    name: String,
    source: String,
    compression: Compression,
    bytes: Vec<u8>,
    content: Content,
}

/// Every batch of a directory with a `manifest.csv`, each of which its processor can work on.
pub(crate) fn all(directory: &Path) -> Result<Vec<Batch>> {
    let files = files(directory)?;
    let mut batches = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let before = batches.len();
        of_file(file, at, &mut batches);
        batches[before..].sort_by(|a: &Batch, b| a.bytes.cmp(&b.bytes));
        batches.dedup_by(|a, b| a.source == b.source && a.bytes == b.bytes);
    }
    let made = batches.len();
    batches.retain(|batch| process::run(batch).is_ok());
    println!(
        "{} files, {} batches, {} more that a processor refuses",
        files.len(),
        batches.len(),
        made - batches.len()
    );
    Ok(batches)
}

fn of_file(file: &File, at: usize, batches: &mut Vec<Batch>) {
    batches.push(Batch::new(file, "whole", &file.content, file.compression, file.bytes.clone()));
    let rewritten = cut::rewritten(&file.content);
    for content in std::iter::once(&file.content).chain(&rewritten) {
        for (turn, (size, part)) in cut::sizes(content).into_iter().enumerate() {
            let plain = if file.compression == Compression::Zip { Compression::None } else { file.compression };
            if let Ok(bytes) = pack::pack(&part, plain) {
                batches.push(Batch::new(file, &size, content, plain, bytes));
            }
            // Each size in another two of the compressions, each file beginning with another.
            for turn in [2 * turn, 2 * turn + 1] {
                let compression = PACKED[(at + turn) % PACKED.len()];
                if packed_by_others(content.data_type)
                    && let Ok(bytes) = pack::pack(&part, compression)
                {
                    batches.push(Batch::new(file, &size, content, compression, bytes));
                }
            }
        }
    }
}

/// Formats that come compressed from outside, if at all.
fn packed_by_others(data_type: DataType) -> bool {
    use DataType::{Csv, Json, Log, Msgpack, Ndjson, Protobuf, Sql, Text, Tsv, Xml, Yaml};
    matches!(data_type, Json | Ndjson | Csv | Tsv | Log | Text | Yaml | Xml | Sql | Protobuf | Msgpack)
}

fn files(directory: &Path) -> Result<Vec<File>> {
    let mut manifest = csv::Reader::from_path(directory.join("manifest.csv")).context("cannot read manifest.csv")?;
    let header = manifest.headers()?.clone();
    let mut files = Vec::new();
    for row in manifest.records() {
        let row = row?;
        let cell =
            |name: &str| header.iter().position(|column| column == name).and_then(|at| row.get(at)).unwrap_or("");
        // What is broken or an attack costs what the processor's first error costs.
        if !matches!(cell("state"), "valid" | "mislabelled") {
            continue;
        }
        let name = cell("file").to_owned();
        let bytes = std::fs::read(directory.join(&name)).with_context(|| format!("cannot read `{name}`"))?;
        let data_type = *named(DataType::ALL, DataType::as_str, cell("data_type"))?;
        let compression = *named(Compression::ALL, Compression::as_str, cell("compression"))?;
        let delimiter = match cell("delimiter") {
            "tab" => b'\t',
            "space" => b' ',
            other => other.bytes().next().unwrap_or(b','),
        };
        let content = pack::unpack(&bytes, compression).with_context(|| format!("cannot unpack `{name}`"))?;
        let source = source(&name);
        files.push(File {
            name,
            source,
            compression,
            bytes,
            content: Content { data_type, delimiter, bytes: content },
        });
    }
    Ok(files)
}

fn named<'a, T: Copy>(all: &'a [T], name: fn(T) -> &'static str, wanted: &str) -> Result<&'a T> {
    all.iter()
        .find(|value| name(**value) == wanted)
        .with_context(|| format!("`{wanted}` is not known; expected a type"))
}

fn source(file: &str) -> String {
    let known = SOURCES.iter().find(|(prefix, _)| file.starts_with(prefix)).map(|(_, source)| *source);
    known.unwrap_or_else(|| file.split('.').next().unwrap_or(file)).to_owned()
}
