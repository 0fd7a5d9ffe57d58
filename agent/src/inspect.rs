//! `forebay-agent inspect`: what the agent would tell about files, by hand.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use forebay_shared::DataCharacteristics;
use serde::Serialize;

use crate::characteristics::{Finding, examine};

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    characteristics: DataCharacteristics,
    problem: Option<String>,
}

/// Prints one JSON object a line for each file. Fails if a file can't be read; the others are still printed.
pub fn inspect(files: &[PathBuf], out: &mut impl Write) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        if let Err(error) = line(file, out) {
            eprintln!("cannot inspect `{}`: {error}; expected a readable file", file.display());
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn line(file: &Path, out: &mut impl Write) -> std::io::Result<()> {
    let bytes = std::fs::read(file)?;
    let Finding { characteristics, problem } = examine(&bytes, bytes.len() as u64, content_type(file));
    let name = file.to_string_lossy();
    serde_json::to_writer(&mut *out, &Line { file: &name, characteristics, problem })?;
    writeln!(out)
}

/// What the name says, where a pushed batch would have said it by its Content-Type. It only breaks ties.
pub(crate) fn content_type(file: &Path) -> Option<&'static str> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" => Some("application/json"),
        "ndjson" | "jsonl" => Some("application/x-ndjson"),
        "csv" => Some("text/csv"),
        "tsv" => Some("text/tab-separated-values"),
        "txt" => Some("text/plain"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_one_line_and_what_does_not_apply_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.csv");
        std::fs::write(&file, "a,b\n1,2\n").unwrap();
        let mut out = Vec::new();
        let code = inspect(&[file.clone(), dir.path().join("none.csv"), file], &mut out);
        assert_eq!(code, ExitCode::FAILURE);
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["dataType"], "csv");
        assert_eq!(lines[0]["dataVolume"]["records"], 2);
        assert_eq!(lines[0]["dataComplexity"]["columns"], 2);
        assert_eq!(lines[0]["estimated"], false);
        assert!(lines[0]["problem"].is_null() && lines[0].as_object().unwrap().contains_key("problem"));
        assert!(lines[0]["dataComplexity"].get("width").is_none());
    }
}
