//! The token that tells the aggregator whose frames these are. Kubernetes renews it in its file before it ends.

use std::path::PathBuf;

use anyhow::anyhow;
use axum::http::HeaderValue;
use forebay_shared::rotating::Rotating;

/// The token in a file, read again when the file changes.
pub(crate) struct Token(Rotating<HeaderValue>);

impl Token {
    pub(crate) fn new(file: PathBuf) -> Self {
        let name = file.display().to_string();
        Self(Rotating::new([file], move |contents| {
            let expected = || format!("`{name}` holds no token: expected one line of visible ASCII");
            let token = contents.first().and_then(|token| str::from_utf8(token).ok()).ok_or_else(expected)?.trim();
            if token.contains(|symbol: char| !symbol.is_ascii_graphic()) {
                return Err(expected());
            }
            let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| expected())?;
            header.set_sensitive(true);
            Ok(header)
        }))
    }

    /// `Bearer …`; the last one that was good if the file is bad now.
    pub(super) fn header(&mut self) -> anyhow::Result<HeaderValue> {
        let faulty = self.0.fault().is_some();
        let header = self.0.get().cloned();
        if let (Ok(_), Some(fault)) = (&header, self.0.fault())
            && !faulty
        {
            tracing::warn!(fault, "cannot renew the token; the last good one holds");
        }
        header.map_err(|fault| anyhow!("--token-file: {fault}; expected a file with a token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_again_when_its_file_changes_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let mut token = Token::new(file.clone());
        let error = token.header().unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        for bad in ["", "two words\n", "\u{1}"] {
            std::fs::write(&file, bad).unwrap();
            let error = token.header().unwrap_err().to_string();
            assert!(error.contains("token") && !error.contains("two words"), "{error}");
        }
        std::fs::write(&file, "one\n").unwrap();
        assert_eq!(token.header().unwrap(), "Bearer one");
        assert!(token.header().unwrap().is_sensitive());
        std::fs::write(&file, "").unwrap();
        assert_eq!(token.header().unwrap(), "Bearer one", "empty for a moment");
        std::fs::write(&file, "two\n").unwrap();
        assert_eq!(token.header().unwrap(), "Bearer two");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(token.header().unwrap(), "Bearer two", "the last good one holds");
    }
}
