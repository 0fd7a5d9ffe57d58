//! Arrow's messages as they pass: their metadata, and never their bodies.

use super::super::walk::{Need, Steps, Walked};
use super::{Held, MARK, Message, first_is_schema, little, message};

/// Metadata of one message: a schema of some 10,000 columns.
const MOST_METADATA: u64 = 2 << 20;

#[derive(Default)]
enum State {
    #[default]
    Between,
    /// The mark or, in old streams, the length.
    Mark,
    Length,
    Metadata,
    Ended,
    Lost,
}

#[derive(Default)]
pub(in super::super) struct Stream {
    state: State,
    rows: u64,
    batches: u32,
}

/// Whether a stream starts so, its schema whole.
pub(in super::super) fn starts(head: &[u8]) -> bool {
    first_is_schema(&Held::new(head, &[], u64::MAX)) == Some(true)
}

impl Stream {
    fn length(&mut self, length: u64) -> Need {
        match length {
            0 => {
                self.state = State::Ended;
                Need::Nothing
            }
            1..=MOST_METADATA => {
                self.state = State::Metadata;
                Need::Take(length as usize)
            }
            _ => self.lost(),
        }
    }

    fn metadata(&mut self, metadata: &[u8]) -> Need {
        let Some((message, body)) = message(metadata) else { return self.lost() };
        if let Message::Rows(rows) = message {
            self.rows = self.rows.saturating_add(rows);
            self.batches = self.batches.saturating_add(1);
        }
        self.state = State::Between;
        Need::Skip(body)
    }

    fn lost(&mut self) -> Need {
        self.state = State::Lost;
        Need::Nothing
    }
}

impl Steps for Stream {
    fn step(&mut self, bytes: &[u8]) -> Need {
        match self.state {
            State::Between => {
                self.state = State::Mark;
                Need::Take(MARK.len())
            }
            State::Mark if bytes == MARK => {
                self.state = State::Length;
                Need::Take(4)
            }
            State::Mark | State::Length => self.length(little(bytes, 0, 4).unwrap_or(0)),
            State::Metadata => self.metadata(bytes),
            State::Ended | State::Lost => Need::Nothing,
        }
    }

    fn end(self: Box<Self>) -> Option<Walked> {
        let whole = matches!(self.state, State::Mark | State::Ended);
        whole.then_some(Walked { records: self.rows, row_groups: Some(self.batches), max_depth: None })
    }
}
