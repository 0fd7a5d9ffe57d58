//! `io.stat`: bytes and operations, a line a block device.

use forebay_shared::ResourceSample;

use crate::sampler::keyed;

/// Sums over devices. An empty file has seen no IO: zero, not absent. A line may hold a device alone, and words that
/// are no `key=value`.
pub(in crate::sampler) fn stat(text: &str, into: &mut ResourceSample) {
    let [mut rbytes, mut wbytes, mut rios, mut wios] = [0_u64; 4];
    for pair in text.split_ascii_whitespace() {
        let Some((key, value)) = pair.split_once('=') else { continue };
        let Some(value) = keyed::number(value) else { continue };
        let sum = match key {
            "rbytes" => &mut rbytes,
            "wbytes" => &mut wbytes,
            "rios" => &mut rios,
            "wios" => &mut wios,
            _ => continue,
        };
        *sum = sum.saturating_add(value);
    }
    into.io_read_bytes = Some(rbytes);
    into.io_write_bytes = Some(wbytes);
    into.io_read_ops = Some(rios);
    into.io_write_ops = Some(wios);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_summed_and_odd_lines_are_left_out() {
        let mut sample = ResourceSample::default();
        let text = "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n253:0 Default\n(unknown) rbytes=x\n\
                    8:16 rbytes=5 wbytes=5 rios=1 wios=1 cost.usage=7\n";
        stat(text, &mut sample);
        assert_eq!((sample.io_read_bytes, sample.io_write_bytes), (Some(15), Some(25)));
        assert_eq!((sample.io_read_ops, sample.io_write_ops), (Some(2), Some(3)));
        stat("", &mut sample);
        assert_eq!((sample.io_read_bytes, sample.io_write_ops), (Some(0), Some(0)));
    }
}
