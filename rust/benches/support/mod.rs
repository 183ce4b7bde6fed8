//! What the benches share: workloads, the clock, interleaved rounds, and how results are told.

#![allow(dead_code, reason = "each bench uses its part")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use k8strace_core::{Compression, EventRule, PhaseTable, Signatures, inflate};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/k8s-1.36_etcd-3.6.otlp.zst");
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A turn lasts about so long, so that the clock's grain does not matter.
const TURN_NS: u64 = 40_000_000;

/// What the command line says.
pub struct Options {
    /// Files of requests, each behind its length as a big-endian u32, plain or in one zstd stream.
    pub files: Vec<PathBuf>,
    /// How many rounds.
    pub rounds: usize,
    /// Print JSON instead of a table.
    pub json: bool,
    /// Sizes, in spans, where a bench has them.
    pub spans: Vec<usize>,
}

impl Options {
    /// Reads the command line; without a file, the capture of Kubernetes 1.36. Refuses debug builds.
    pub fn read() -> Self {
        if cfg!(debug_assertions) {
            eprintln!("a debug build says nothing about speed: use `cargo bench`");
            std::process::exit(2);
        }
        let mut options = Self { files: Vec::new(), rounds: 9, json: false, spans: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => {} // cargo says so to every bench
                "--json" => options.json = true,
                "--rounds" => options.rounds = number(words.next()),
                "--spans" => options.spans.push(number(words.next())),
                _ => options.files.push(word.into()),
            }
        }
        if options.files.is_empty() {
            options.files.push(CAPTURE.into());
        }
        options
    }
}

fn number(word: Option<String>) -> usize {
    let number = word.and_then(|word| word.replace('_', "").parse().ok());
    number.expect("--rounds and --spans want a number")
}

/// Requests as a sender wrote them.
pub struct Workload {
    /// The file's name.
    pub name: String,
    /// All requests, one behind the other.
    pub bytes: Vec<u8>,
    /// Where each stands.
    pub ranges: Vec<Range<usize>>,
}

impl Workload {
    /// Reads a file of framed requests.
    pub fn load(path: &Path) -> Self {
        let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = if file.starts_with(&ZSTD) {
            inflate(Compression::Zstd, &file, u64::MAX).expect("a whole zstd stream")
        } else {
            file
        };
        let (mut bytes, mut ranges, mut rest) = (Vec::with_capacity(file.len()), Vec::new(), &file[..]);
        while let Some((header, behind)) = rest.split_first_chunk::<4>() {
            let (frame, next) = behind.split_at(u32::from_be_bytes(*header) as usize);
            ranges.push(bytes.len()..bytes.len() + frame.len());
            bytes.extend_from_slice(frame);
            rest = next;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, bytes, ranges }
    }

    /// One request after the other.
    pub fn requests(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges.iter().map(|range| &self.bytes[range.clone()])
    }
}

/// CPU time of this process, in ns.
pub fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What work costs.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    /// CPU time, in ns.
    pub ns: u64,
    /// Of it in the kernel, in ns: read in ticks of 10 ms, so true of sums only.
    pub system_ns: u64,
    /// Page faults.
    pub faults: u64,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.ns += more.ns;
        self.system_ns += more.system_ns;
        self.faults += more.faults;
    }
}

impl Spent {
    /// Seconds of CPU time, those of them in the kernel, and page faults, a span.
    pub fn json(&self, spans: f64) -> Value {
        json!([self.ns as f64 / 1e9 / spans, self.system_ns as f64 / 1e9 / spans, self.faults as f64 / spans])
    }
}

/// Page faults of this process so far, and its time in the kernel, in ns; zeros elsewhere than on Linux.
fn kernel() -> (u64, u64) {
    const TICK_NS: u64 = 10_000_000;
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let numbers: Vec<u64> = fields.skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    let at = |place: usize| numbers.get(place).copied().unwrap_or(0);
    (at(6) + at(8), at(11) * TICK_NS)
}

/// What `work` costs, and what came of it.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Spent, T) {
    let (faults, system_ns) = kernel();
    let start = cpu_ns();
    let result = std::hint::black_box(work());
    let ns = cpu_ns() - start;
    let (faults_now, system_now) = kernel();
    (Spent { ns, system_ns: system_now - system_ns, faults: faults_now - faults }, result)
}

/// Something to time: does its work once and returns what it costs, so that it can prepare off the clock.
pub struct Contender<'a> {
    /// Its name.
    pub name: String,
    once: Box<dyn FnMut() -> Spent + 'a>,
    ns: Vec<f64>,
    spent: Spent,
    times: u64,
}

impl<'a> Contender<'a> {
    /// Names the work.
    pub fn new(name: impl Into<String>, once: impl FnMut() -> Spent + 'a) -> Self {
        let spent = Spent::default();
        Self { name: name.into(), once: Box::new(once), ns: Vec::new(), spent, times: 0 }
    }

    /// What it costs a span, over all rounds.
    pub fn spent(&self, spans: f64) -> Value {
        self.spent.json(spans * self.times.max(1) as f64)
    }

    /// Time in each round, in ns.
    pub fn rounds(&self) -> &[f64] {
        &self.ns
    }

    /// Median over the rounds, in ns.
    pub fn median_ns(&self) -> f64 {
        Spread::of(self.ns.clone()).median
    }

    /// Fastest round, in ns.
    pub fn best_ns(&self) -> f64 {
        self.ns.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// Lets all contenders take turns.
pub fn interleave(contenders: &mut [Contender<'_>], rounds: usize) {
    let times: Vec<u64> =
        contenders.iter_mut().map(|each| 1.max(TURN_NS / (each.once)().ns.max(1)).min(1000)).collect();
    for _ in 0..rounds {
        for (each, &times) in contenders.iter_mut().zip(&times) {
            let mut sum = Spent::default();
            for _ in 0..times {
                sum += (each.once)();
            }
            each.ns.push(sum.ns as f64 / times as f64);
            each.spent += sum;
            each.times += times;
        }
    }
}

/// Median and range.
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Spread {
    /// Sums up.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], low: values[0], high: values[values.len() - 1] }
    }

    /// For the JSON report.
    pub fn json(&self) -> Value {
        json!({"median": self.median, "low": self.low, "high": self.high})
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.low, self.high)
    }
}

/// How many times longer `above` takes than `below`, round by round.
pub fn ratio(contenders: &[Contender<'_>], above: &str, below: &str) -> Spread {
    let of = |name: &str| contenders.iter().find(|each| each.name == name).expect("a contender's name");
    Spread::of(of(above).ns.iter().zip(&of(below).ns).map(|(above, below)| above / below).collect())
}

/// A phase for every signature and a rule for every event: more rules than any taxonomy has.
pub fn label_everything(signatures: &Signatures) -> PhaseTable {
    const PHASES: u16 = 40;
    let numbers = || (0..PHASES).cycle();
    let events = signatures.events.iter().zip(numbers());
    PhaseTable {
        phase: numbers().take(signatures.list.len()).collect(),
        events: events
            .map(|(&event, phase)| {
                (event, EventRule { before: Some(phase), after: Some(PHASES - 1 - phase) })
            })
            .collect(),
        phases: usize::from(PHASES),
        ..PhaseTable::default()
    }
}
