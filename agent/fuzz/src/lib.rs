//! What the targets share: an input, in the chunks and with the budget that its first bytes say.

use forebay_agent::{Finding, Inspector};

fn look(batch: &[u8], size: usize, claim: &str, budget: usize) -> Finding {
    let mut inspector = Inspector::new(Some(claim), budget);
    batch.chunks(size).for_each(|chunk| inspector.push(chunk));
    inspector.finish()
}

/// Looks into a batch of `start` and the input's rest.
///
/// # Panics
/// If its vector is none that a batch can have, or, of `plain` text, if another chunking gives another one.
pub fn inspect(start: &[u8], claims: &[&str], plain: bool, input: &[u8]) {
    let [size, claim, budget, rest @ ..] = input else { return };
    let batch = [start, rest].concat();
    let claim = claims[usize::from(*claim) % claims.len()];
    let budget = if *budget < 200 { usize::MAX } else { usize::from(*budget - 200) * 7 };
    let whole = look(&batch, batch.len().max(1), claim, budget);
    assert!(whole.characteristics.check().is_ok());
    let parts = look(&batch, usize::from(*size) + 1, claim, budget);
    assert!(!plain || parts == whole, "{parts:?} of parts, {whole:?} of the whole");
}
