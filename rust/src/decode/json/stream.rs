//! A stream of JSON values: what a file really holds.
//!
//! Documents may stand one after another with or without newlines, over several lines, in an array. Between them may be
//! what is none: lines of a log, runs of zeros, the first half of a line whose second half never came.
//!
//! ```text
//! {"resourceSpans":[…]}\n192.168.0.1 - GET /\n{"resourceSpans":[{"reso{"resourceSpans":[…]}\0\0\0\0
//! └ value ────────────┘  └ no JSON ────────┘  └ breaks off ──────┘└ value ────────────┘└ zeros ─┘
//! ```
//!
//! A value's end is found by its brackets and quotes. Where it is broken, reading goes on where the next one can begin:
//! at a line that begins with a bracket, behind zeros, or at `{"resourceSpans"`.

use memchr::{memchr, memchr_iter, memchr2, memchr2_iter, memchr3, memmem};

use super::fields::TOP;
use super::walk::{BYTE_ORDER_MARK, THE_REST, convert};
use crate::error::{DecodeError, ErrorKind, Result};
use crate::numbers::u32_of;

/// As deep as the parser goes.
const MAX_DEPTH: u32 = 127;
/// A line is waited for up to here before it is looked into.
const PATIENCE: usize = 4 << 20;
/// How much of what is no JSON is kept, to say whose it is.
const SAMPLE: usize = 160;
/// Stands before each value of a JSON text sequence (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;
/// What our documents have as their first key.
const KEYS: [&[u8]; 2] = [b"\"resourceSpans\"", b"\"result\""];
/// Wire that any document may take.
const FREE_WIRE: usize = 64 << 10;

/// What a piece of the stream is. Offsets of errors are in the whole stream.
#[derive(Debug)]
pub enum Found {
    /// A request.
    Wire(Wire),
    /// Something else.
    Bad(Box<DecodeError>),
    /// A run of zeros.
    Zeros,
    /// The stream ends within it.
    Torn(Box<DecodeError>),
}

/// A request, whatever it was stored as.
#[derive(Debug)]
pub struct Wire {
    /// Its wire bytes.
    pub bytes: Vec<u8>,
    /// How many sequences in it were no UTF-8 and have been replaced.
    pub replaced: u32,
    /// Its times are in µs.
    pub micros: bool,
}

/// A piece of the stream.
#[derive(Debug)]
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
    /// The line that it begins in, from 1.
    pub line: u64,
    /// Its first bytes, if it is [`Found::Bad`].
    pub sample: Vec<u8>,
    /// What it is.
    pub found: Found,
}

/// Takes a stream apart that arrives in chunks of any size.
pub struct Reader {
    buf: Vec<u8>,
    /// Offset in the stream of `buf[0]`.
    base: u64,
    /// Where in `buf` the piece begins that is being read.
    at: usize,
    /// The line of `at`.
    line: u64,
    /// Arrays around the values.
    arrays: u64,
    /// Arrays around them at the beginning of whose envelope we were: `{"data":[` of Jaeger's.
    enveloped: u64,
    /// Arrays around the spans of Zipkin's array that is read span by span, since it is damaged as a whole; or 0.
    singly: u64,
    /// The next newline, if it is known; before `searched` there is none.
    newline: Option<usize>,
    searched: usize,
    /// Offset in the stream of the end of the last line that was more than one value.
    crowded: u64,
    mode: Mode,
    limit: usize,
}

enum Mode {
    Between,
    /// What stands in an envelope behind its array.
    Envelope(Scan),
    Value(Scan),
    /// What is no value, and why: up to where one can begin.
    Junk(Piece),
    Zeros(Piece),
}

enum Step {
    Again,
    Wait,
    Give(Piece),
}

/// How far a value was looked through.
#[derive(Default, Clone, Copy)]
struct Scan {
    /// Bytes of it.
    len: usize,
    depth: u32,
    /// One bit per open bracket: 1 for an object.
    objects: u128,
    in_string: bool,
}

enum ScanEnd {
    End,
    More,
    Broken(&'static str),
}

impl Reader {
    /// A reader of values of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buf: Vec::new(),
            base: 0,
            at: 0,
            line: 1,
            arrays: 0,
            enveloped: 0,
            singly: 0,
            newline: None,
            searched: 0,
            crowded: 0,
            mode: Mode::Between,
            limit,
        }
    }

    /// Takes the next bytes of the stream. Errors: no memory for them.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<()> {
        self.buf.drain(..self.at);
        self.base += self.at as u64;
        self.newline = self.newline.and_then(|at| at.checked_sub(self.at));
        self.searched = self.searched.saturating_sub(self.at);
        self.at = 0;
        self.buf.try_reserve(chunk.len()).map_err(|_| {
            let size = self.buf.len() + chunk.len();
            DecodeError::new(format!("memory for {size} bytes of JSON"), "none", 0).of(ErrorKind::Memory)
        })?;
        self.buf.extend_from_slice(chunk);
        Ok(())
    }

    /// The next piece; none if it takes more of the stream, or if these were its `last` bytes and all is read.
    ///
    /// Errors: a value above the limit.
    pub fn next(&mut self, last: bool) -> Result<Option<Piece>> {
        loop {
            let step = match std::mem::replace(&mut self.mode, Mode::Between) {
                Mode::Between => self.between(last),
                Mode::Envelope(scan) => self.envelope(scan, last),
                Mode::Value(scan) => self.value(scan, last)?,
                Mode::Junk(piece) => self.junk(piece, last),
                Mode::Zeros(piece) => self.zeros(piece, last),
            };
            match step {
                Step::Again => {}
                Step::Wait => return Ok(None),
                Step::Give(piece) => return Ok(Some(piece)),
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &self.buf[self.at..]
    }

    fn take(&mut self, size: usize) {
        self.line += memchr_iter(b'\n', &self.rest()[..size]).count() as u64;
        self.at += size;
    }

    fn here(&self) -> u64 {
        self.base + self.at as u64
    }

    /// A piece that begins here.
    fn piece(&self, found: Found) -> Piece {
        Piece { offset: self.here(), size: 0, line: self.line, sample: Vec::new(), found }
    }

    fn give(&mut self, size: usize, found: Found) -> Step {
        let piece = Piece { size: size as u64, ..self.piece(found) };
        self.take(size);
        Step::Give(piece)
    }

    fn bad(&mut self, size: usize, error: Box<DecodeError>) -> Step {
        let sample = self.sample();
        match self.give(size, Found::Bad(error)) {
            Step::Give(piece) => Step::Give(Piece { sample, ..piece }),
            step => step,
        }
    }

    fn sample(&self) -> Vec<u8> {
        self.rest()[..self.rest().len().min(SAMPLE)].to_vec()
    }

    // ---- between values ---------------------------------------------------------------------------

    fn between(&mut self, last: bool) -> Step {
        match self.rest() {
            [] if last && self.arrays > 0 => {
                self.arrays = 0;
                let error = DecodeError::new("the rest of the JSON array", "its end", self.here());
                self.give(0, Found::Torn(error.of(ErrorKind::Cut)))
            }
            [] => Step::Wait,
            [b' ' | b'\t' | b'\r' | b'\n' | b',' | RECORD_SEPARATOR, ..] => self.pass(1),
            [b']', ..] if self.arrays > 0 => {
                self.arrays -= 1;
                if self.singly > self.arrays {
                    self.singly = 0;
                }
                if self.enveloped == self.arrays + 1 {
                    self.enveloped = 0;
                    self.mode = Mode::Envelope(Scan { depth: 1, objects: 1, ..Scan::default() });
                }
                self.pass(1)
            }
            [0, ..] => self.turn(Mode::Zeros(self.piece(Found::Zeros))),
            [b'{', ..] => match opens_envelope(self.rest()) {
                Opens::Yes(size) if self.enveloped == 0 => {
                    self.arrays += 1;
                    self.enveloped = self.arrays;
                    self.pass(size)
                }
                Opens::Perhaps if !last => Step::Wait,
                _ => self.turn(Mode::Value(Scan::default())),
            },
            [b'[', ..] => self.bracket(last),
            rest if rest.starts_with(BYTE_ORDER_MARK) => self.pass(BYTE_ORDER_MARK.len()),
            rest if !last && BYTE_ORDER_MARK.starts_with(rest) => Step::Wait,
            _ => self.start_junk("other text"),
        }
    }

    fn pass(&mut self, size: usize) -> Step {
        self.take(size);
        Step::Again
    }

    fn turn(&mut self, mode: Mode) -> Step {
        self.mode = mode;
        Step::Again
    }

    /// An array of documents is passed through; one of something else is none of ours.
    fn bracket(&mut self, last: bool) -> Step {
        match self.rest()[1..].iter().find(|byte| !byte.is_ascii_whitespace()) {
            None if !last => Step::Wait,
            Some(b'{') if matches!(opens_zipkin(self.rest()), Opens::Yes(_)) => {
                self.turn(Mode::Value(Scan::default()))
            }
            Some(b'{') if !last && matches!(opens_zipkin(self.rest()), Opens::Perhaps) => Step::Wait,
            None | Some(b'{' | b'[' | b']') => {
                self.arrays += 1;
                self.pass(1)
            }
            Some(_) => self.start_junk("other text"),
        }
    }

    /// Passes over the rest of an envelope: `,"total":0,"errors":null}`.
    fn envelope(&mut self, mut scan: Scan, last: bool) -> Step {
        match scan.on(self.rest()) {
            ScanEnd::End => self.pass(scan.len),
            ScanEnd::More if !last => {
                self.mode = Mode::Envelope(scan);
                Step::Wait
            }
            ScanEnd::More => {
                let error = DecodeError::new(THE_REST, "its end", self.here()).of(ErrorKind::Cut);
                self.give(self.buf.len() - self.at, Found::Torn(error))
            }
            ScanEnd::Broken(got) => self.start_junk(got),
        }
    }

    // ---- what is no value -------------------------------------------------------------------------

    fn zeros(&mut self, mut piece: Piece, last: bool) -> Step {
        let run = self.rest().iter().take_while(|byte| **byte == 0).count();
        self.take(run);
        piece.size += run as u64;
        if self.at < self.buf.len() {
            return Step::Give(piece);
        }
        if !last {
            self.mode = Mode::Zeros(piece);
            return Step::Wait;
        }
        let error = DecodeError::new("a JSON document", "zeros up to the end", piece.offset);
        piece.found = Found::Torn(error.of(ErrorKind::Cut));
        Step::Give(piece)
    }

    fn start_junk(&mut self, got: &'static str) -> Step {
        let error = DecodeError::new("JSON", got, self.here()).of(ErrorKind::Json);
        self.turn(Mode::Junk(Piece { sample: self.sample(), ..self.piece(Found::Bad(error)) }))
    }

    /// Passes over it, up to zeros or to a line that a value can begin with.
    fn junk(&mut self, mut piece: Piece, last: bool) -> Step {
        let mut from = self.at;
        while let Some(found) = memchr2(b'\n', 0, &self.buf[from..]) {
            let newline = from + found;
            let end = if self.buf[newline] == 0 { newline } else { newline + 1 };
            match self.buf.get(end) {
                None if !last => return self.wait_in_junk(piece, newline),
                Some(byte) if !matches!(byte, b'{' | b'[' | 0) => from = end,
                _ => {
                    self.take(end - self.at);
                    piece.size = self.here() - piece.offset;
                    return Step::Give(piece);
                }
            }
        }
        let end = self.buf.len();
        if !last {
            return self.wait_in_junk(piece, end);
        }
        self.take(end - self.at);
        piece.size = self.here() - piece.offset;
        Step::Give(piece)
    }

    fn wait_in_junk(&mut self, piece: Piece, end: usize) -> Step {
        self.take(end - self.at);
        self.mode = Mode::Junk(piece);
        Step::Wait
    }

    // ---- values -----------------------------------------------------------------------------------

    /// Is what begins here the array of Zipkin's spans as a whole?
    fn is_array(&self) -> bool {
        self.singly == 0 && self.rest().starts_with(b"[")
    }

    /// Goes on with the spans of an array, each a value of its own.
    fn one_by_one(&mut self) -> Step {
        self.arrays += 1;
        self.singly = self.arrays;
        self.pass(1)
    }

    fn value(&mut self, mut scan: Scan, last: bool) -> Result<Step> {
        if scan.len == 0 && self.singly == 0 {
            match self.line_end(last) {
                None if self.rest().len() < PATIENCE => {
                    self.mode = Mode::Value(scan);
                    return Ok(Step::Wait);
                }
                Some(end)
                    if end - self.at <= self.limit
                        && self.base + end as u64 != self.crowded
                        && self.rest()[..end - self.at].trim_ascii_end().ends_with(b"}") =>
                {
                    // The common case: a document is a line.
                    let line = &self.buf[self.at..end];
                    if let Ok((bytes, micros)) = convert(line, line.len().max(FREE_WIRE), &TOP) {
                        let wire = Wire { bytes, replaced: 0, micros };
                        return Ok(self.give(end - self.at, Found::Wire(wire)));
                    }
                    self.crowded = self.base + end as u64;
                }
                _ => {}
            }
        }
        let seen = scan.on(self.rest());
        let damaged = matches!(seen, ScanEnd::Broken(_)) || (last && matches!(seen, ScanEnd::More));
        if (damaged || scan.len > self.limit) && self.is_array() {
            return Ok(self.one_by_one());
        }
        if scan.len > self.limit {
            let expected = format!("a message of at most {} bytes", self.limit);
            return Err(DecodeError::new(expected, "more", self.here()).of(ErrorKind::Limit));
        }
        Ok(match seen {
            ScanEnd::End => self.whole(scan.len),
            ScanEnd::Broken(got) => {
                let error = DecodeError::new("JSON", got, self.here() + scan.len as u64).of(ErrorKind::Json);
                self.broken(error)
            }
            ScanEnd::More if last => {
                let error = DecodeError::new(THE_REST, "its end", self.here()).of(ErrorKind::Cut);
                match self.restart() {
                    Some(at) => self.bad(at - self.at, error),
                    None => self.give(self.buf.len() - self.at, Found::Torn(error)),
                }
            }
            ScanEnd::More => {
                self.mode = Mode::Value(scan);
                Step::Wait
            }
        })
    }

    /// A value from its first bracket to its last.
    fn whole(&mut self, len: usize) -> Step {
        let single;
        let mut text = &self.rest()[..len];
        if self.singly > 0 && text.starts_with(b"{") {
            single = [b"[", text, b"]"].concat();
            text = &single;
        }
        let limit = len.max(FREE_WIRE);
        let (read, replaced) = match convert(text, limit, &TOP) {
            Err(error) if error.kind == ErrorKind::Json && std::str::from_utf8(text).is_err() => {
                let count = text.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
                (convert(String::from_utf8_lossy(text).as_bytes(), limit, &TOP), u32_of(count))
            }
            read => (read, 0),
        };
        match read {
            Ok((bytes, micros)) => self.give(len, Found::Wire(Wire { bytes, replaced, micros })),
            Err(_) if self.is_array() => self.one_by_one(),
            Err(mut error) => {
                error.offset += self.here();
                if error.kind == ErrorKind::Json { self.broken(error) } else { self.bad(len, error) }
            }
        }
    }

    /// Reading goes on where the next value can begin.
    fn broken(&mut self, error: Box<DecodeError>) -> Step {
        match self.restart() {
            Some(at) => self.bad(at - self.at, error),
            None => self.turn(Mode::Junk(Piece { sample: self.sample(), ..self.piece(Found::Bad(error)) })),
        }
    }

    fn restart(&self) -> Option<usize> {
        let rest = &self.rest()[1..];
        let begins = |at: &usize| matches!(rest.get(at + 1), Some(b'{' | b'['));
        let line = memchr2_iter(b'\n', 0, rest).find(begins).map(|at| at + 1);
        let before = &rest[..line.unwrap_or(rest.len())];
        let document =
            KEYS.iter().filter_map(|key| memmem::find_iter(before, key).find_map(|at| begin(&before[..at])));
        document.min().or(line).map(|at| self.at + 1 + at)
    }

    /// Where the line ends; none if that is not in sight.
    fn line_end(&mut self, last: bool) -> Option<usize> {
        if self.newline.is_none_or(|newline| newline < self.at) {
            let from = self.at.max(self.searched);
            self.newline = memchr(b'\n', &self.buf[from..]).map(|at| from + at);
            self.searched = self.newline.unwrap_or(self.buf.len());
        }
        self.newline.or(last.then_some(self.buf.len()))
    }
}

/// Does something begin with these pieces, which may have space between them?
enum Opens {
    No,
    /// As far as can be seen.
    Perhaps,
    /// So many bytes of it.
    Yes(usize),
}

fn opens(text: &[u8], pieces: &[&[u8]]) -> Opens {
    let mut rest = text;
    for piece in pieces {
        rest = rest.trim_ascii_start();
        match rest.strip_prefix(*piece) {
            Some(behind) => rest = behind,
            None if piece.starts_with(rest) => return Opens::Perhaps,
            None => return Opens::No,
        }
    }
    Opens::Yes(text.len() - rest.len())
}

/// Jaeger's answer, whose traces are values of their own: so one that is broken costs no other.
fn opens_envelope(text: &[u8]) -> Opens {
    match opens(text, &[b"{", b"\"data\"", b":", b"["]) {
        Opens::Yes(size) => match text[size..].trim_ascii_start() {
            [b'{' | b']', ..] => Opens::Yes(size),
            [] => Opens::Perhaps,
            _ => Opens::No,
        },
        other => other,
    }
}

/// An array of Zipkin's spans is one value: they are told apart together.
fn opens_zipkin(text: &[u8]) -> Opens {
    const KEYS: [&[u8]; 13] = [
        b"\"traceId\"",
        b"\"id\"",
        b"\"parentId\"",
        b"\"kind\"",
        b"\"name\"",
        b"\"timestamp\"",
        b"\"duration\"",
        b"\"localEndpoint\"",
        b"\"remoteEndpoint\"",
        b"\"annotations\"",
        b"\"tags\"",
        b"\"shared\"",
        b"\"debug\"",
    ];
    let found = KEYS.map(|key| opens(text, &[b"[", b"{", key]));
    let is = |wanted: fn(&Opens) -> bool| found.iter().any(wanted);
    match (is(|opens| matches!(opens, Opens::Yes(_))), is(|opens| matches!(opens, Opens::Perhaps))) {
        (true, _) => Opens::Yes(0),
        (_, true) => Opens::Perhaps,
        _ => Opens::No,
    }
}

/// Where the document begins whose first key stands behind `before`. `{"result":{"resourceSpans"` is one document.
fn begin(before: &[u8]) -> Option<usize> {
    let around = before.trim_ascii_end().strip_suffix(b"{")?;
    (!around.trim_ascii_end().ends_with(b":")).then_some(around.len())
}

impl Scan {
    /// Goes on through `value`.
    fn on(&mut self, value: &[u8]) -> ScanEnd {
        while let Some(&byte) = value.get(self.len) {
            if self.in_string {
                match self.string(value) {
                    None => continue,
                    Some(seen) => return seen,
                }
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    if let Some(got) = self.unfit(value) {
                        return ScanEnd::Broken(got);
                    }
                    self.depth += 1;
                    self.objects = self.objects << 1 | u128::from(byte == b'{');
                }
                b'}' | b']' => {
                    if (self.objects & 1 == 1) != (byte == b'}') {
                        return ScanEnd::Broken("a bracket that closes another one");
                    }
                    self.depth -= 1;
                    self.objects >>= 1;
                    if self.depth == 0 {
                        self.len += 1;
                        return ScanEnd::End;
                    }
                }
                _ => {}
            }
            self.len += 1;
        }
        ScanEnd::More
    }

    /// To the end of the string, if it is in sight.
    fn string(&mut self, value: &[u8]) -> Option<ScanEnd> {
        let Some(at) = memchr3(b'"', b'\\', b'\n', &value[self.len..]) else {
            self.len = value.len();
            return Some(ScanEnd::More);
        };
        match value[self.len + at] {
            b'"' => {
                self.in_string = false;
                self.len += at + 1;
            }
            b'\n' => return Some(ScanEnd::Broken("a line break within a string")),
            _ if self.len + at + 1 == value.len() => {
                self.len += at;
                return Some(ScanEnd::More);
            }
            _ => self.len += at + 2,
        }
        None
    }

    /// Why no value can begin here, if so: most likely another document does.
    fn unfit(&self, value: &[u8]) -> Option<&'static str> {
        if self.depth == MAX_DEPTH {
            return Some("more than 127 objects and arrays within one another");
        }
        match value[..self.len].iter().rfind(|byte| !byte.is_ascii_whitespace()) {
            None | Some(b'[' | b':') => None,
            Some(b',') if self.objects & 1 == 0 => None,
            _ => Some("the beginning of another document"),
        }
    }
}
