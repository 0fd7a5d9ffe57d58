//! Processors of text.

use std::collections::HashMap;
use std::ops::ControlFlow;

use anyhow::{Context, Result, anyhow};
use quick_xml::XmlVersion;
use quick_xml::events::Event;
use serde_json::Value;
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::tally::Tally;

pub(super) fn json(content: &[u8]) -> Result<f64> {
    let mut tally = Tally::default();
    walk("", &serde_json::from_slice(content)?, &mut tally);
    Ok(tally.digest())
}

pub(super) fn ndjson(content: &[u8]) -> Result<f64> {
    let mut tally = Tally::default();
    for line in content.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        walk("", &serde_json::from_slice(line)?, &mut tally);
    }
    Ok(tally.digest())
}

pub(super) fn yaml(content: &[u8]) -> Result<f64> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(content)?)?;
    let mut tally = Tally::default();
    documents.iter().for_each(|document| walk("", document, &mut tally));
    Ok(tally.digest())
}

fn walk(key: &str, value: &Value, tally: &mut Tally<String>) {
    match value {
        Value::Null => tally.text(key, 0),
        Value::Bool(flag) => tally.number(key, f64::from(u8::from(*flag))),
        Value::Number(number) => tally.number(key, number.as_f64().unwrap_or_default()),
        Value::String(text) => tally.text(key, text.len()),
        Value::Array(items) => items.iter().for_each(|item| walk(key, item, tally)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(key, value, tally)),
    }
}

pub(super) fn table(content: &[u8], delimiter: u8) -> Result<f64> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(content);
    let (mut columns, mut keys) = (Tally::default(), Tally::default());
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        if let Some(key) = record.get(0) {
            keys.text(key, key.len());
        }
        for (at, field) in record.iter().enumerate() {
            match std::str::from_utf8(field).ok().and_then(|text| text.trim().parse::<f64>().ok()) {
                Some(number) if number.is_finite() => columns.number(&at, number),
                _ => columns.text(&at, field.len()),
            }
        }
    }
    Ok(columns.digest() + keys.digest())
}

pub(super) fn xml(content: &[u8]) -> Result<f64> {
    let mut reader = quick_xml::Reader::from_reader(content);
    let (mut names, mut tally) = (Vec::<String>::new(), Tally::default());
    loop {
        match reader.read_event()? {
            Event::Start(tag) => {
                for attribute in tag.attributes() {
                    let attribute = attribute?;
                    tally.text(attribute.key.as_ref(), attribute.value.len());
                }
                names.push(tag.name().as_ref().to_owned());
            }
            Event::Empty(tag) => tally.text(tag.name().as_ref(), 0),
            Event::Text(text) => {
                let text = text.xml_content(XmlVersion::Implicit1_0);
                let name = names.last().map_or("", String::as_str);
                for word in text.split_whitespace() {
                    match word.parse::<f64>() {
                        Ok(number) if number.is_finite() => tally.number(name, number),
                        _ => tally.text(name, word.len()),
                    }
                }
            }
            Event::End(_) => {
                names.pop().context("an end without its start")?;
            }
            Event::Eof => return Ok(tally.digest()),
            _ => {}
        }
    }
}

pub(super) fn sql(content: &[u8]) -> Result<f64> {
    let statements = Parser::parse_sql(&GenericDialect {}, std::str::from_utf8(content)?)?;
    let (mut tables, mut expressions) = (Tally::default(), 0.0);
    let walked: ControlFlow<()> = sqlparser::ast::visit_relations(&statements, |table| {
        tables.text(table.to_string().as_str(), 1);
        ControlFlow::Continue(())
    });
    let counted: ControlFlow<()> = sqlparser::ast::visit_expressions(&statements, |_| {
        expressions += 1.0;
        ControlFlow::Continue(())
    });
    if walked.is_break() || counted.is_break() {
        return Err(anyhow!("the walk over the statements was broken off"));
    }
    Ok(tables.digest() + expressions)
}

/// Lines by the first word that is no number, time or host: the level, mostly; numbers anywhere are summed.
pub(super) fn log(content: &[u8]) -> Result<f64> {
    let mut tally = Tally::default();
    for line in std::str::from_utf8(content)?.lines() {
        let level = line.split_whitespace().map(|word| word.trim_matches(['[', ']', ':']));
        let mut words = level.filter(|word| !word.is_empty());
        let plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphabetic());
        let level = words.by_ref().find(plain).unwrap_or("");
        tally.text(level, line.len());
        for word in words {
            if let Ok(number) = word.parse::<f64>()
                && number.is_finite()
            {
                tally.number(level, number);
            }
        }
    }
    Ok(tally.digest())
}

pub(super) fn words(content: &[u8]) -> Result<f64> {
    let mut counts = HashMap::<&str, u64>::new();
    for line in std::str::from_utf8(content)?.lines() {
        for word in line.split_whitespace() {
            *counts.entry(word).or_default() += 1;
        }
    }
    let all: u64 = counts.values().sum();
    Ok(all as f64 + counts.len() as f64)
}
