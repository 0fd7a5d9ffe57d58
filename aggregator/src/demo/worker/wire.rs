//! What goes over a worker's stdin and stdout: a kind (1 byte), a length (4 bytes, little-endian), a body.
//!
//! ```text
//! to the worker    1 batch   number u64, bytes
//!                  2 share   millicores u64
//! from the worker  1 hello   empty
//!                  2 done    number u64, CRC-32C of the input u32, CPU time µs u64, bytes
//!                  3 failed  the same, with the problem in words instead of bytes
//! ```

use std::io::{self, Read, Write};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest body: far above any batch of the demo.
const MAX_BODY: u32 = 256 << 20;
const HEADER_LEN: usize = 5;
/// Number, checksum and CPU time of an answer.
const ANSWER_LEN: usize = 20;

/// What a worker is told.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::demo) enum Order {
    /// Work on a batch.
    Batch {
        /// Its number.
        number: u64,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Keep to a share of a core, in thousandths; 0 lifts the limit.
    Share(u64),
}

/// What a worker tells.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::demo) enum Message {
    /// Ready for batches.
    Hello,
    /// Done with one.
    Answer(Answer),
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::demo) struct Answer {
    /// The batch's number.
    pub(in crate::demo) number: u64,
    /// CRC-32C of the input as the worker got it.
    pub(in crate::demo) input_crc: u32,
    /// CPU time that it took, µs.
    pub(in crate::demo) cpu_us: u64,
    /// The result, or what is wrong with the input.
    pub(in crate::demo) output: Result<Vec<u8>, String>,
}

impl Order {
    /// Reads the next order; an error also at the end of the input.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER_LEN];
        from.read_exact(&mut header)?;
        let (kind, length) = parse_header(header)?;
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        match (kind, body.split_first_chunk::<8>()) {
            (1, Some((number, bytes))) => {
                Ok(Self::Batch { number: u64::from_le_bytes(*number), bytes: bytes.to_vec() })
            }
            (2, Some((millicores, []))) => Ok(Self::Share(u64::from_le_bytes(*millicores))),
            _ => Err(invalid("an order that is neither a batch (1) nor a share (2)")),
        }
    }
}

/// Sends a batch to a worker.
pub(in crate::demo) async fn send_batch(
    to: &mut (impl AsyncWrite + Unpin),
    number: u64,
    bytes: &[u8],
) -> io::Result<()> {
    to.write_all(&header(1, 8 + bytes.len())?).await?;
    to.write_all(&number.to_le_bytes()).await?;
    to.write_all(bytes).await?;
    to.flush().await
}

/// Sends a share to a worker.
pub(in crate::demo) async fn send_share(to: &mut (impl AsyncWrite + Unpin), millicores: u64) -> io::Result<()> {
    to.write_all(&header(2, 8)?).await?;
    to.write_all(&millicores.to_le_bytes()).await?;
    to.flush().await
}

impl Message {
    /// Writes it to the worker's stdout.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let Self::Answer(answer) = self else {
            return to.write_all(&header(1, 0)?);
        };
        let (kind, bytes) = match &answer.output {
            Ok(bytes) => (2, &bytes[..]),
            Err(problem) => (3, problem.as_bytes()),
        };
        to.write_all(&header(kind, ANSWER_LEN + bytes.len())?)?;
        to.write_all(&answer.number.to_le_bytes())?;
        to.write_all(&answer.input_crc.to_le_bytes())?;
        to.write_all(&answer.cpu_us.to_le_bytes())?;
        to.write_all(bytes)
    }

    /// Reads the next message; an error also at the end of the input.
    pub(in crate::demo) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut header = [0; HEADER_LEN];
        from.read_exact(&mut header).await?;
        let (kind, length) = parse_header(header)?;
        if kind == 1 && length == 0 {
            return Ok(Self::Hello);
        }
        let mut head = [0; ANSWER_LEN];
        let length = length.checked_sub(ANSWER_LEN).ok_or_else(|| invalid("a short answer"))?;
        from.read_exact(&mut head).await?;
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).await?;
        let output = match kind {
            2 => Ok(bytes),
            3 => Err(String::from_utf8_lossy(&bytes).into_owned()),
            _ => return Err(invalid("a message that is neither done (2) nor failed (3)")),
        };
        let number = u64::from_le_bytes(part(&head, 0));
        let input_crc = u32::from_le_bytes(part(&head, 8));
        let cpu_us = u64::from_le_bytes(part(&head, 12));
        Ok(Self::Answer(Answer { number, input_crc, cpu_us, output }))
    }
}

fn header(kind: u8, length: usize) -> io::Result<[u8; HEADER_LEN]> {
    let length = u32::try_from(length).ok().filter(|length| *length <= MAX_BODY);
    let [a, b, c, d] = length.ok_or_else(|| invalid("a body that is too long"))?.to_le_bytes();
    Ok([kind, a, b, c, d])
}

fn parse_header([kind, a, b, c, d]: [u8; HEADER_LEN]) -> io::Result<(u8, usize)> {
    let length = u32::from_le_bytes([a, b, c, d]);
    if length > MAX_BODY {
        return Err(invalid("a body that is too long"));
    }
    Ok((kind, length as usize))
}

fn part<const N: usize>(head: &[u8; ANSWER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&head[at..at + N]);
    out
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_and_messages_read_back_as_they_were_written() {
        let mut orders = Vec::new();
        send_batch(&mut orders, 7, b"abc").await.unwrap();
        send_share(&mut orders, 250).await.unwrap();
        let mut orders = &orders[..];
        assert_eq!(Order::read(&mut orders).unwrap(), Order::Batch { number: 7, bytes: b"abc".to_vec() });
        assert_eq!(Order::read(&mut orders).unwrap(), Order::Share(250));
        assert!(Order::read(&mut orders).is_err());

        for output in [Ok(b"out".to_vec()), Err("line 1: bad".to_owned())] {
            let message = Message::Answer(Answer { number: 7, input_crc: 1, cpu_us: 2, output });
            let mut bytes = Vec::new();
            Message::Hello.write(&mut bytes).unwrap();
            message.write(&mut bytes).unwrap();
            let mut bytes = &bytes[..];
            assert_eq!(Message::read(&mut bytes).await.unwrap(), Message::Hello);
            assert_eq!(Message::read(&mut bytes).await.unwrap(), message);
        }
    }

    #[tokio::test]
    async fn a_small_message_cannot_announce_a_large_one() {
        assert!(Message::read(&mut &[2, 255, 255, 255, 255][..]).await.is_err());
        assert!(Message::read(&mut &[2, 3, 0, 0, 0, 1, 2, 3][..]).await.is_err());
        assert!(Order::read(&mut &[1, 255, 255, 255, 255][..]).is_err());
    }
}
