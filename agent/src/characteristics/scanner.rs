//! The seam between the streaming core and the text formats.

use forebay_shared::DataType;

use super::Facts;

/// One format's pass over the content, fed chunk by chunk: any chunking gives the same facts.
pub(super) trait Scanner: Send {
    /// Looks at the next bytes.
    fn push(&mut self, bytes: &[u8]);

    /// What it was, and its facts.
    fn finish(self: Box<Self>, end: End) -> (DataType, Facts);
}

/// How much of the content was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) seen: u64,
    pub(super) total: u64,
}

impl End {
    /// The budget ended the pass, not the content.
    pub(super) fn cut(self) -> bool {
        self.seen < self.total
    }
}
