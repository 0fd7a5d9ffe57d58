//! Images: pixels, channels, bits and frames from their headers. Pixels are never decoded.

pub(super) mod bmp;
pub(super) mod gif;
pub(super) mod jpeg;
pub(super) mod png;
pub(super) mod tiff;
pub(super) mod webp;

use super::{Detail, Facts};

/// Chunks, blocks and pages that are walked, so that the work has a bound.
const MOST_STEPS: u32 = 1 << 17;

/// What all of them tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Picture {
    width: u64,
    height: u64,
    channels: u32,
    bits: u32,
}

impl Picture {
    fn facts(self, frames: u64, estimated: bool, problem: Option<&'static str>) -> Facts {
        let pixels = |side: u64| u32::try_from(side).ok().filter(|side| *side > 0);
        let none = pixels(self.width).or(pixels(self.height)).is_none().then_some("the image has no pixels");
        Facts {
            records: Some(frames),
            width: pixels(self.width),
            height: pixels(self.height),
            detail: Detail {
                channels: (self.channels > 0).then_some(self.channels),
                bit_depth: (self.bits > 0).then_some(self.bits),
                ..Detail::default()
            },
            estimated: Some(estimated),
            ..Facts::maybe(problem.or(none))
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
