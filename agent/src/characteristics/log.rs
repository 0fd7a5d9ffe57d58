//! Whether text is a log: lines that start alike with a time, a level or a priority.

use super::Hint;
use super::table::Dialect;

/// Lines that decide.
const SAMPLE_LINES: usize = 200;
/// Bytes of a line within which its time or level starts.
const PREFIX: usize = 64;

/// Words of the first cell of a table of times: `Jan 2 03:04:05 2026` is the longest.
const CELL_WORDS: usize = 4;

const LEVELS: [&str; 17] = [
    "TRACE",
    "DEBUG",
    "INFO",
    "INFORMATION",
    "NOTICE",
    "WARN",
    "WARNING",
    "ERROR",
    "ERR",
    "SEVERE",
    "CRITICAL",
    "CRIT",
    "FATAL",
    "PANIC",
    "ALERT",
    "EMERG",
    "VERBOSE",
];

/// Whether content that starts so is a log, though it may be read as the table of `dialect`.
pub(super) fn looks_like(head: &[u8], dialect: Option<Dialect>, hint: Hint) -> bool {
    let lines = head.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).take(SAMPLE_LINES);
    let (mut all, mut starts, mut levels, mut split) = (0, 0, 0, 0);
    for line in lines {
        let line = &line[..line.len().min(PREFIX)];
        let start = Start::of(line);
        all += 1;
        starts += usize::from(start.is_entry());
        levels += usize::from(start.level);
        split += usize::from(dialect.is_some_and(|dialect| splits(line, dialect.delimiter)));
    }
    let claimed = hint == Hint::Log;
    let alike = if claimed { starts * 10 >= all * 3 } else { starts * 10 >= all * 7 };
    let several = all >= 2 || claimed || levels > 0;
    // A table of times is a table, unless its delimiter stands where sentences and fractions of seconds have it.
    let table = split * 2 > all && !claimed;
    starts > 0 && alike && several && !table
}

/// Whether the first delimiter of a line is a table's, not that of a fraction or a sentence.
fn splits(line: &[u8], delimiter: u8) -> bool {
    let Some(at) = memchr::memchr(delimiter, line) else { return false };
    // A cell of a table starts with a time at most, an entry of a log goes on after it.
    let words = line[..at].split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count();
    if words > CELL_WORDS && time(&line[..at]) {
        return false;
    }
    let after = &line[at + 1..];
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let fraction = matches!(digits, 3 | 6) && matches!(after.get(digits), Some(b' ' | b'\t' | b']'));
    delimiter != b' ' && !(delimiter == b',' && (fraction || after.first() == Some(&b' ')))
}

/// What a line starts with.
struct Start {
    priority: bool,
    time: bool,
    level: bool,
    digit: bool,
    level_first: bool,
}

impl Start {
    fn of(line: &[u8]) -> Self {
        let level = level(line);
        Self {
            priority: priority(line),
            time: time(line),
            level: level.is_some(),
            digit: line.first().is_some_and(u8::is_ascii_digit),
            level_first: level.is_some_and(|at| at <= 1),
        }
    }

    fn is_entry(&self) -> bool {
        self.priority || self.time || self.level_first || self.level && self.digit
    }
}

/// Syslog's `<13>`.
fn priority(line: &[u8]) -> bool {
    let digits = line.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
    line.first() == Some(&b'<') && (1..=3).contains(&digits) && line.get(digits + 1) == Some(&b'>')
}

/// A time of day, a date that starts the line, or the kernel's seconds; not the value of a key.
fn time(line: &[u8]) -> bool {
    let shape: Vec<u8> = line.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }).collect();
    let before_key = |at: usize| memchr::memmem::find(&shape[..at], b": ").is_none();
    let clock = [&b"00:00:00"[..], b"00.00.00.0", b"00:00 ", b"00:00]"];
    let ticks = line.first() == Some(&b'[') && line[1..].trim_ascii_start().first().is_some_and(u8::is_ascii_digit);
    if ticks && memchr::memmem::find(&shape, b".000000] ").is_some() {
        return true;
    }
    let clock = clock.iter().filter_map(|clock| memchr::memmem::find(&shape, clock)).min();
    let start = shape.strip_prefix(b"[").unwrap_or(&shape);
    let dates = [&b"0000-00-00"[..], b"0000/00/00", b"00/00/00", b"0000.00.00", b"00/Aaa/0000", b"00000000-0"];
    dates.iter().any(|date| start.starts_with(date)) || clock.is_some_and(before_key)
}

/// Where a level stands: in capitals, or in brackets or before a colon.
fn level(line: &[u8]) -> Option<usize> {
    let mut at = 0;
    for word in line.split(|byte| !byte.is_ascii_alphabetic()) {
        let is = LEVELS.iter().any(|level| level.as_bytes().eq_ignore_ascii_case(word));
        let after = line.get(at + word.len());
        let set_off = word.iter().all(u8::is_ascii_uppercase) || matches!(after, Some(b']' | b':' | b'>' | b'|'));
        if is && set_off {
            return Some(at);
        }
        at += word.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_shared::DataType;

    fn is(line: &str) -> bool {
        let text = format!("{line}\n{line} and more\n");
        looks_like(text.as_bytes(), super::super::table::dialect(text.as_bytes(), true, Hint::None), Hint::None)
    }

    #[test]
    fn logs_of_many_kinds_are_told_by_their_starts() {
        for line in [
            "2026-01-02 03:04:05,678 INFO [main] org.example.App: started",
            "26/01/02 03:04:05 INFO executor.Backend: registered [A, B]",
            "[Fri Jan 02 03:04:05 2026] [notice] ready",
            "Jan  2 03:04:05 host app[12]: message",
            "<13>Jan  2 03:04:05 host app: message",
            "260102 030405 148 INFO dfs.Node: block 1",
            "10.0.0.1 - - [02/Jan/2026:03:04:05 +0000] \"GET / HTTP/1.1\" 200 5",
            "I0102 03:04:05.678901       1 main.go:12] started",
            "time=2026-01-02T03:04:05Z level=info msg=started",
            "ERROR: it failed",
            "01-02 03:04:05.678  1702  2395 D Window: printed",
            "2026-01-02 03:04:05, Info                  CBS    Loaded",
            "[    1.234567] usb 1-1: new device, number 4",
            "10.0.0.1 - - [02/Jan/2026:03:04:05 +0000] \"GET /a?b=c,d HTTP/1.1\" 200 5 \"-\" \"Mozilla/5.0 (X11; Linux)\"",
        ] {
            assert!(is(line), "{line}");
        }
    }

    #[test]
    fn tables_mappings_and_prose_are_no_logs() {
        for text in [
            "2026-01-02 03:04:05.678,4808,10",
            "1,2026-01-02 03:04:05,x",
            "created: 2026-01-02 03:04:05",
            "he said that the error was his",
            "information is what it needs",
        ] {
            assert!(!is(text), "{text}");
        }
        let dialect = Dialect { delimiter: b'|', data_type: DataType::Csv };
        let piped = b"20260102-03:04:05:678|Step|3|x\n20260102-03:04:06:678|Step|4|y\n";
        assert!(looks_like(piped, Some(dialect), Hint::Log) && !looks_like(piped, Some(dialect), Hint::None));
    }
}
