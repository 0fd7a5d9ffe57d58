//! Where in XML's markup the next byte stands.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markup {
    Text,
    /// Past a `<`.
    Lt,
    /// Within the name of a start tag, by its hash so far.
    Name(u32),
    Tag {
        quote: Option<u8>,
        /// The byte before was the `/` of an empty element.
        slash: bool,
    },
    EndName(u32),
    /// Past `<!`, with the bytes that tell what follows.
    Bang([u8; 7], u8),
    /// With the number of `-` at its end.
    Comment(u8),
    /// With the number of `]` at its end.
    Cdata(u8),
    /// With a `?` at its end.
    Instruction(bool),
    Doctype {
        /// Within the square brackets.
        subset: bool,
        quote: Option<u8>,
        /// The last eight bytes.
        last: u64,
        /// Within a comment there.
        comment: bool,
    },
}

/// What the document type declares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Declarations {
    entities: u64,
    external: bool,
}

/// The hash of an empty name.
pub(super) const NAME: u32 = 0x811c_9dc5;

/// FNV-1a, a byte a step.
#[inline]
pub(super) fn hashed(name: u32, byte: u8) -> u32 {
    (name ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

/// Takes the bytes of a name into its hash; how many there are.
#[inline]
pub(super) fn hash_name(name: &mut u32, bytes: &[u8]) -> usize {
    let ends = |byte: u8| matches!(byte, b'>' | b'/' | b' ' | b'\t' | b'\r' | b'\n');
    let length = bytes.iter().take_while(|byte| !ends(**byte)).count();
    *name = bytes[..length].iter().fold(*name, |name, byte| hashed(name, *byte));
    length
}

const ENTITY: u64 = u64::from_be_bytes(*b"<!ENTITY");
const SYSTEM: u64 = u64::from_be_bytes(*b"\0SYSTEM ");
const PUBLIC: u64 = u64::from_be_bytes(*b"\0PUBLIC ");
const SEVEN: u64 = u64::MAX >> 8;

impl Markup {
    /// Bytes that may be skipped without a look.
    pub(super) fn leap(&self, bytes: &[u8]) -> usize {
        let sought = match self {
            Self::Tag { quote: Some(quote), .. } => *quote,
            Self::Comment(0) => b'-',
            Self::Cdata(0) => b']',
            Self::Instruction(false) => b'?',
            _ => return 0,
        };
        memchr::memchr(sought, bytes).unwrap_or(bytes.len())
    }

    /// Past one byte of what holds no elements.
    pub(super) fn skip(self, byte: u8, declarations: &mut Declarations) -> Self {
        match self {
            Self::Bang(bytes, len) => bang(bytes, len, byte),
            Self::Comment(2..) if byte == b'>' => Self::Text,
            Self::Comment(dashes) => Self::Comment(if byte == b'-' { (dashes + 1).min(2) } else { 0 }),
            Self::Cdata(2..) if byte == b'>' => Self::Text,
            Self::Cdata(brackets) => Self::Cdata(if byte == b']' { (brackets + 1).min(2) } else { 0 }),
            Self::Instruction(true) if byte == b'>' => Self::Text,
            Self::Instruction(_) => Self::Instruction(byte == b'?'),
            Self::Doctype { subset, quote, last, comment } => {
                let last = last << 8 | u64::from(byte);
                declarations.look(last, quote.is_some() || comment);
                doctype(subset, quote, last, comment)
            }
            other => other,
        }
    }
}

fn bang(mut bytes: [u8; 7], len: u8, byte: u8) -> Markup {
    bytes[usize::from(len)] = byte;
    let text = &bytes[..usize::from(len) + 1];
    match text {
        b"--" => Markup::Comment(0),
        b"[CDATA[" => Markup::Cdata(0),
        _ if b"--".starts_with(text) || b"[CDATA[".starts_with(text) => Markup::Bang(bytes, len + 1),
        // `<!DOCTYPE`, or something that ends as it does.
        _ if byte == b'>' => Markup::Text,
        _ => Markup::Doctype { subset: byte == b'[', quote: None, last: 0, comment: false },
    }
}

fn doctype(subset: bool, quote: Option<u8>, last: u64, comment: bool) -> Markup {
    let byte = last as u8;
    let next = |subset, quote, comment| Markup::Doctype { subset, quote, last, comment };
    if comment {
        let ends = last & 0xff_ffff == 0x2d_2d3e;
        return next(subset, None, !ends);
    }
    match (quote, byte) {
        (Some(open), _) => next(subset, Some(open).filter(|open| *open != byte), false),
        (None, b'"' | b'\'') => next(subset, Some(byte), false),
        (None, b'-') if last as u32 == u32::from_be_bytes(*b"<!--") => next(subset, None, true),
        (None, b'[') => next(true, None, false),
        (None, b']') => next(false, None, false),
        (None, b'>') if !subset => Markup::Text,
        _ => next(subset, None, false),
    }
}

impl Declarations {
    fn look(&mut self, last: u64, hidden: bool) {
        if hidden {
            return;
        }
        self.entities += u64::from(last == ENTITY);
        self.external |= self.entities > 0 && (last & SEVEN == SYSTEM || last & SEVEN == PUBLIC);
    }

    pub(super) fn problem(&self) -> Option<String> {
        match (self.entities, self.external) {
            (0, _) => None,
            (_, true) => Some("declares an external entity, which is not fetched".into()),
            (entities, false) => Some(format!("declares {entities} entities, which are not expanded")),
        }
    }
}
