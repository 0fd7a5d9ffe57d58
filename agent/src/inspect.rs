//! `forebay-agent inspect`: what the agent would tell about files, by hand.
//!
//! Files are read in chunks and looked at whole, however long. Of what is no text only the first and last bytes are
//! kept, of what is unpacked as well. Pipes and devices are refused: they may have no end.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use forebay_shared::{Compression, DataCharacteristics, DataComplexity, DataType, DataVolume};
use serde::Serialize;

use crate::characteristics::{Detail, Finding, Hint, Inspector};

/// Bytes read at a time: they stay in a core's cache while they are looked at.
const CHUNK: usize = 256 << 10;
/// Files of no length, such as those of /proc, may have content still; so much of it is read.
const MOST_OF_NO_LENGTH: u64 = 64 << 20;

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

/// Prints one JSON object a line for each file. Fails if a file can't be read; the others are still printed. Ends
/// without a word when nobody reads on.
pub fn inspect(files: &[PathBuf], out: &mut impl Write) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let mut chunk = vec![0; CHUNK];
    for file in files {
        match look(file, &mut chunk) {
            Ok(finding) => {
                if let Err(error) = print(file, finding, out) {
                    return unwritten(&error);
                }
            }
            Err(error) => {
                eprintln!("cannot inspect `{}`: {error}; expected a readable file", file.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    match out.flush() {
        Ok(()) => code,
        Err(error) => unwritten(&error),
    }
}

fn unwritten(error: &std::io::Error) -> ExitCode {
    if error.kind() == ErrorKind::BrokenPipe {
        return ExitCode::SUCCESS;
    }
    eprintln!("cannot write what was found: {error}; expected an output that takes it");
    ExitCode::FAILURE
}

fn print(file: &Path, finding: Finding, out: &mut impl Write) -> std::io::Result<()> {
    let Finding { characteristics, detail, problem } = finding;
    let DataCharacteristics { data_volume, data_complexity, data_type, compression, estimated } = characteristics;
    let data_complexity = Complexity { parts: data_complexity, detail };
    let file = &*file.to_string_lossy();
    let mut line =
        serde_json::to_vec(&Line { file, data_type, compression, data_volume, data_complexity, estimated, problem })?;
    line.push(b'\n');
    out.write_all(&line)
}

fn look(path: &Path, chunk: &mut [u8]) -> std::io::Result<Finding> {
    // Asked before it is opened: opening a pipe waits for its writer.
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() {
        return Err(std::io::Error::other(if kind.is_dir() { "it is a directory" } else { "it is a pipe or device" }));
    }
    let mut file = File::open(path)?;
    // As long as it is now: a file that is being written to may grow faster than it is read.
    let left = match file.metadata()?.len() {
        0 => MOST_OF_NO_LENGTH,
        length => length,
    };
    let mut inspector = Inspector::exact(Hint::content_type_of(path));
    feed(&mut inspector, &mut file, left, chunk)?;
    Ok(inspector.finish())
}

/// Has an inspector see what is of use of a file's first `left` bytes, a chunk at a time.
pub(crate) fn feed(inspector: &mut Inspector, file: &mut File, mut left: u64, chunk: &mut [u8]) -> std::io::Result<()> {
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let read = match file.read(&mut chunk[..most]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        inspector.push(&chunk[..read]);
        left -= read as u64;
        let skip = inspector.skippable(left);
        if let Ok(offset) = i64::try_from(skip)
            && offset > 0
        {
            file.seek(SeekFrom::Current(offset))?;
            inspector.skip(skip);
            left -= skip;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(files: &[PathBuf]) -> (ExitCode, Vec<serde_json::Value>) {
        let mut out = Vec::new();
        let code = inspect(files, &mut out);
        let text = String::from_utf8(out).unwrap();
        (code, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    #[test]
    fn each_file_is_one_line_and_what_does_not_apply_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.csv");
        std::fs::write(&file, "a,b\n1,2\n").unwrap();
        let (code, lines) = lines(&[file.clone(), dir.path().join("none.csv"), file]);
        assert_eq!((code, lines.len()), (ExitCode::FAILURE, 2));
        assert_eq!(lines[0]["dataType"], "csv");
        assert_eq!(lines[0]["dataVolume"]["records"], 2);
        assert_eq!(lines[0]["dataComplexity"]["columns"], 2);
        assert_eq!(lines[0]["estimated"], false);
        assert!(lines[0]["problem"].is_null() && lines[0].as_object().unwrap().contains_key("problem"));
        assert!(lines[0]["dataComplexity"].get("width").is_none());
    }

    #[test]
    fn a_long_file_is_looked_at_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("long.ndjson");
        std::fs::write(&file, "{\"id\": 1234, \"name\": \"abcdef\"}\n".repeat(400_000)).unwrap();
        let (_, lines) = lines(&[file]);
        assert_eq!(lines[0]["dataVolume"]["records"], 400_000);
        assert_eq!(lines[0]["estimated"], false);
    }

    #[test]
    fn the_middle_of_what_is_no_text_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse.bin");
        let bytes = 1 << 40;
        File::create(&path).unwrap().set_len(bytes).unwrap();
        let (code, lines) = lines(&[path]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!((&lines[0]["dataType"], &lines[0]["dataVolume"]["bytes"]), (&"binary".into(), &bytes.into()));
    }

    #[test]
    fn pipes_devices_and_directories_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = [PathBuf::from("/dev/zero"), PathBuf::from("/dev/null"), dir.path().to_path_buf()];
        assert_eq!(lines(&files), (ExitCode::FAILURE, vec![]));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_of_a_file_and_a_full_disk_is_one() {
        struct Broken(ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = [file.path().to_path_buf()];
        assert_eq!(inspect(&files, &mut Broken(ErrorKind::BrokenPipe)), ExitCode::SUCCESS);
        assert_eq!(inspect(&files, &mut Broken(ErrorKind::StorageFull)), ExitCode::FAILURE);
    }
}
