//! The fuzz targets' seeds, each as its target would have it, and each cut: what crashed once stays among them.

use std::path::{Path, PathBuf};

use super::super::*;

/// What a target puts before its inputs' rest.
fn start(target: &str) -> &'static [u8] {
    match target {
        "text_gzip" => b"\x1f\x8b\x08",
        "text_bzip2" => b"BZh91AY&SY",
        "text_xz" => b"\xfd7zXZ\0",
        "text_zstd" => b"\x28\xb5\x2f\xfd",
        "text_lz4" => b"\x04\x22\x4d\x18",
        "text_snappy_framed" => b"\xff\x06\0\0sNaPpY",
        "text_snappy_blocks" => b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01",
        "text_xml" => b"<?xml version=\"1.0\"?>",
        "text_table" => b"a,b\tc\n",
        _ => b"",
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn look(batch: &[u8], size: usize, claim: Option<&str>, budget: usize) -> Finding {
    let mut inspector = Inspector::new(claim, budget);
    batch.chunks(size).for_each(|chunk| inspector.push(chunk));
    inspector.finish()
}

#[test]
fn every_seed_whole_or_cut_gives_a_vector_and_text_gives_the_same_in_any_chunking() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut count = 0;
    for directory in files(&seeds) {
        let target = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let (prefix, packed) = (if target.starts_with("text") { 3 } else { 4 }, start(&target));
        let plain = packed.is_empty() || matches!(target.as_str(), "text_xml" | "text_table");
        for file in files(&directory) {
            let seed = std::fs::read(&file).unwrap();
            let batch = [packed, &seed[prefix..]].concat();
            for cut in (0..8).map(|part| batch.len() * (8 - part) / 8) {
                let batch = &batch[..cut];
                for claim in [None, Some("application/json"), Some("text/csv"), Some("application/x-protobuf")] {
                    let whole = look(batch, batch.len().max(1), claim, usize::MAX);
                    assert!(whole.characteristics.check().is_ok(), "{}", file.display());
                    let parts = look(batch, 7, claim, usize::MAX);
                    assert!(!plain || parts == whole, "{} of {cut}: {parts:?}, {whole:?}", file.display());
                    let part = look(batch, 64, claim, cut / 2).characteristics;
                    assert!(part.check().is_ok() && part.data_volume.bytes == cut as u64, "{}", file.display());
                }
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count} seeds");
}
