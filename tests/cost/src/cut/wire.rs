//! Sizes of records in binary: whole records, fields or messages.

use anyhow::Result;
use apache_avro::{Codec, DeflateSettings, Reader, Writer};
use forebay_shared::DataType;
use rmpv::Value;

use super::{Content, Size};
use crate::process::wire;

pub(super) fn avro(content: &[u8], size: Size) -> Result<Option<Vec<u8>>> {
    let reader = Reader::new(content)?;
    let schema = reader.writer_schema().clone();
    let values = reader.collect::<Result<Vec<_>, _>>()?;
    let Some(values) = size.pick(&values) else { return Ok(None) };
    let named = |codec: &[u8]| content.windows(codec.len()).take(4096).any(|window| window == codec);
    let codec = match () {
        () if named(b"deflate") => Codec::Deflate(DeflateSettings::default()),
        () if named(b"snappy") => Codec::Snappy,
        () => Codec::Null,
    };
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec);
    for value in values {
        writer.append(value)?;
    }
    Ok(Some(writer.into_inner()?))
}

/// Items of one array, else values one after the other.
pub(super) fn msgpack(mut content: &[u8], size: Size) -> Result<Option<Vec<u8>>> {
    let mut values = Vec::new();
    while !content.is_empty() {
        values.push(rmpv::decode::read_value(&mut content)?);
    }
    let array = match &values[..] {
        [Value::Array(items)] => Some(items.clone()),
        _ => None,
    };
    let Some(picked) = size.pick(array.as_ref().unwrap_or(&values)) else { return Ok(None) };
    let values = if array.is_some() { vec![Value::Array(picked)] } else { picked };
    let mut out = Vec::new();
    for value in &values {
        rmpv::encode::write_value(&mut out, value)?;
    }
    Ok(Some(out))
}

pub(super) fn json_as_msgpack(json: &[u8]) -> Option<Content> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, &as_msgpack(serde_json::from_slice(json).ok()?)).ok()?;
    Some(Content::new(DataType::Msgpack, out))
}

fn as_msgpack(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => flag.into(),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.into(),
            (None, number) => number.unwrap_or_default().into(),
        },
        Json::String(text) => text.into(),
        Json::Array(items) => Value::Array(items.into_iter().map(as_msgpack).collect()),
        Json::Object(fields) => Value::Map(fields.into_iter().map(|(k, v)| (k.into(), as_msgpack(v))).collect()),
    }
}

/// Fields of one message, else messages that each follow their length.
pub(super) fn protobuf(content: &[u8], size: Size) -> Option<Vec<u8>> {
    let Size::Part(of) = size else { return Some(content.repeat(size.units(1)?)) };
    let framed = || {
        let messages = wire::delimited(content)?;
        Some(messages.iter().map(|message| message.as_ptr_range().end as usize - content.as_ptr() as usize).collect())
    };
    let ends: Vec<usize> = wire::ends_of_fields(content).or_else(framed)?;
    let end = ends.into_iter().rev().find(|end| *end <= content.len() / of)?;
    Some(content[..end].to_vec())
}
