//! Compressions: as a producer packs and a component unpacks.

use std::io::{Cursor, Read, Write};

use anyhow::Result;
use forebay_shared::Compression;

pub(crate) fn pack(bytes: &[u8], compression: Compression) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    match compression {
        Compression::None => packed.extend_from_slice(bytes),
        Compression::Gzip => {
            flate2::read::GzEncoder::new(bytes, flate2::Compression::default()).read_to_end(&mut packed)?;
        }
        Compression::Zstd => packed = zstd::encode_all(bytes, 3)?,
        Compression::Bzip2 => {
            bzip2::read::BzEncoder::new(bytes, bzip2::Compression::default()).read_to_end(&mut packed)?;
        }
        Compression::Xz => {
            let mut writer = lzma_rust2::XzWriter::new(&mut packed, lzma_rust2::XzOptions::with_preset(6))?;
            writer.write_all(bytes)?;
            writer.finish()?;
        }
        Compression::Snappy => {
            snap::read::FrameEncoder::new(bytes).read_to_end(&mut packed)?;
        }
        Compression::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(&mut packed);
            writer.write_all(bytes)?;
            writer.finish()?;
        }
        Compression::Zip => {
            let mut writer = zip::ZipWriter::new(Cursor::new(&mut packed));
            writer.start_file("part", zip::write::SimpleFileOptions::default())?;
            writer.write_all(bytes)?;
            writer.finish()?;
        }
    }
    Ok(packed)
}

pub(crate) fn unpack(bytes: &[u8], compression: Compression) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    match compression {
        Compression::None => unpacked.extend_from_slice(bytes),
        Compression::Gzip => {
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut unpacked)?;
        }
        Compression::Zstd => unpacked = zstd::decode_all(bytes)?,
        Compression::Bzip2 => {
            bzip2::read::MultiBzDecoder::new(bytes).read_to_end(&mut unpacked)?;
        }
        Compression::Xz => {
            lzma_rust2::XzReader::new(bytes, true).read_to_end(&mut unpacked)?;
        }
        Compression::Snappy => {
            snap::read::FrameDecoder::new(bytes).read_to_end(&mut unpacked)?;
        }
        Compression::Lz4 => {
            lz4_flex::frame::FrameDecoder::new(bytes).read_to_end(&mut unpacked)?;
        }
        Compression::Zip => {
            let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
            for at in 0..archive.len() {
                archive.by_index(at)?.read_to_end(&mut unpacked)?;
            }
        }
    }
    Ok(unpacked)
}
