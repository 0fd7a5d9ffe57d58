//! `forebay-agent inspect`: what the agent would tell about files, by hand.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use forebay_shared::{Compression, DataCharacteristics, DataComplexity, DataType, DataVolume};
use serde::Serialize;

use crate::characteristics::{Detail, Hint, examine};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    file: &'a str,
    data_type: DataType,
    compression: Compression,
    data_volume: DataVolume,
    data_complexity: Complexity,
    estimated: bool,
    problem: Option<String>,
}

/// The parts that frames carry, and those that they have no place for yet.
#[derive(Serialize)]
struct Complexity {
    #[serde(flatten)]
    parts: DataComplexity,
    #[serde(flatten)]
    detail: Detail,
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
    let found = examine(&bytes, bytes.len() as u64, content_type(file));
    let DataCharacteristics { data_volume, data_complexity, data_type, compression, estimated } = found.characteristics;
    let data_complexity = Complexity { parts: data_complexity, detail: found.detail };
    let (file, problem) = (&*file.to_string_lossy(), found.problem);
    serde_json::to_writer(
        &mut *out,
        &Line { file, data_type, compression, data_volume, data_complexity, estimated, problem },
    )?;
    writeln!(out)
}

/// What the name says, where a pushed batch would have said it by its Content-Type. It only breaks ties.
fn content_type(file: &Path) -> Option<&'static str> {
    Hint::content_type(file.extension()?.to_str()?)
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
