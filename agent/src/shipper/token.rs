//! The token that tells the aggregator whose frames these are. Kubernetes renews it in its file before it ends.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use reqwest::header::HeaderValue;

/// The token in a file, read again when the file changes.
pub(crate) struct Token {
    file: PathBuf,
    read: Option<(SystemTime, HeaderValue)>,
}

impl Token {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, read: None }
    }

    /// `Bearer …`; the last one that was good if the file is bad now.
    pub(super) fn header(&mut self) -> anyhow::Result<HeaderValue> {
        match self.refresh() {
            Ok(header) => Ok(header),
            Err(error) => self.read.as_ref().map(|(_, header)| header.clone()).ok_or(error),
        }
    }

    fn refresh(&mut self) -> anyhow::Result<HeaderValue> {
        let file = self.file.display();
        let expected = || format!("cannot read the token file `{file}`: expected a file with a token");
        let modified = std::fs::metadata(&self.file).and_then(|meta| meta.modified()).with_context(expected)?;
        if let Some((then, header)) = &self.read
            && *then == modified
        {
            return Ok(header.clone());
        }
        let token = std::fs::read_to_string(&self.file).with_context(expected)?;
        anyhow::ensure!(!token.trim().is_empty(), expected());
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.trim())).ok().with_context(expected)?;
        header.set_sensitive(true);
        self.read = Some((modified, header.clone()));
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_token_is_read_again_when_its_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let mut token = Token::new(file.clone());
        let error = token.header().unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        std::fs::write(&file, "one\n").unwrap();
        assert_eq!(token.header().unwrap(), "Bearer one");
        std::fs::write(&file, "two\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        assert_eq!(token.header().unwrap(), "Bearer two");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(token.header().unwrap(), "Bearer two", "the last good one holds");
    }
}
