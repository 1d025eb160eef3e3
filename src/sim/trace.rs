//! What happened, as a hash of everything and as text of the last of it.

use std::collections::VecDeque;
use std::fmt;

/// How many lines a failing run shows.
const MAX_LINES: usize = 200;

/// The record of a run. Two runs of a seed have the same hash, or something else than the seed had
/// a part in them.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    /// Whether text is kept at all: it costs more than the run.
    keeps_text: bool,
    /// Whether each line is printed as it comes.
    prints: Option<fn(&str)>,
    /// At most [`MAX_LINES`].
    lines: VecDeque<String>,
}

impl Trace {
    /// A trace of hashes alone.
    pub fn silent() -> Trace {
        Trace { hash: 0, keeps_text: false, prints: None, lines: VecDeque::new() }
    }

    /// A trace that can be read, and that gives each line to `print`.
    pub fn readable(print: Option<fn(&str)>) -> Trace {
        Trace { keeps_text: true, prints: print, ..Trace::silent() }
    }

    /// Everything that happened, in one number.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Notes what happens, by numbers.
    pub(super) fn note(&mut self, what: u64) {
        self.hash = mix(self.hash ^ what).wrapping_add(what);
    }

    /// Notes bytes that were seen.
    pub(super) fn note_bytes(&mut self, bytes: &[u8]) {
        self.note(u64::from(crc32fast::hash(bytes)) << 8 | 1);
    }

    /// Writes a line, if anybody will read it.
    pub(super) fn line(&mut self, now_us: u64, text: impl FnOnce() -> String) {
        if self.keeps_text {
            self.keep(now_us, &text());
        }
    }

    fn keep(&mut self, now_us: u64, text: &dyn fmt::Display) {
        let line = format!("{:>12.6} {text}", now_us as f64 / 1e6);
        if let Some(print) = self.prints {
            print(&line);
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Spreads every bit over all others (the finaliser of SplitMix64).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
