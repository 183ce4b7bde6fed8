//! Evidence of clocks and services in any parts of all spans, summed up: as much as a join of everything would have.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use serde_json::{Value, json};

use crate::archive::couplings::Process;
use crate::columns::NONE;
use crate::join::Joined;
use crate::join::apiservers::Apiservers;
use crate::join::clock::{self, Evidence, Summary};
use crate::join::repair::Change;
use crate::join::span_kind::SERVER;
use crate::join::times::saturated;
use crate::numbers::u32_of;

/// The calling and the called process → what the calls say.
type Calls = BTreeMap<(Process, Process), Summary>;

/// The evidence of parts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClockEvidence {
    /// Calls told by their ids.
    calls: Calls,
    /// Those whose caller was found.
    adopted: Calls,
    /// Service → what it was seen to send.
    services: BTreeMap<String, u8>,
    /// SERVER spans whose caller is missing, found or not: if there are some, clocks show which call it is.
    pub waiting: u64,
}

/// The evidence of everything, as a join takes it.
pub struct Whole {
    /// Numbers processes.
    pub keys: RandomState,
    /// Calls told by their ids.
    pub calls: Evidence,
    /// Those whose caller was found.
    pub adopted: Evidence,
}

impl ClockEvidence {
    /// The evidence of joined spans.
    pub fn of(joined: &Joined) -> Self {
        let c = &*joined.columns;
        let (start, end) = (&c.spans.start_time_unix_nano, &c.spans.end_time_unix_nano);
        let mut adopted = vec![false; c.len()];
        let mut mended: BTreeMap<u32, i64> = BTreeMap::new();
        for repair in &joined.repairs {
            match repair.change {
                Change::Adopted(_) => adopted[repair.row as usize] = true,
                Change::End { after, .. } => {
                    mended.insert(repair.row, after);
                }
                _ => {}
            }
        }
        let times = |row: usize| {
            let mended = mended.get(&u32_of(row)).copied();
            (saturated(start[row]), mended.unwrap_or_else(|| saturated(end[row])))
        };
        let mut found = Self { services: joined.apiservers.seen().clone(), ..Self::default() };
        for &pair in &joined.rpc_pairs {
            let Some((processes, bound)) = clock::bound(c, &joined.processes, pair, times) else { continue };
            let described = |process| joined.processes.described(process);
            let calls = if adopted[pair.1 as usize] { &mut found.adopted } else { &mut found.calls };
            calls.entry((described(processes.0), described(processes.1))).or_default().add(bound);
        }
        let waits = |row: usize| {
            let is_request = joined.requests.of_row[row] != NONE && joined.parent[row] == NONE;
            c.spans.kind[row] == SERVER && (adopted[row] || joined.missing[row] && !is_request)
        };
        found.waiting = (0..c.len()).filter(|&row| waits(row)).count() as u64;
        found
    }

    /// Adds that of another part.
    pub fn merge(&mut self, other: &Self) {
        for (mine, others) in [(&mut self.calls, &other.calls), (&mut self.adopted, &other.adopted)] {
            for (pair, summary) in others {
                mine.entry(pair.clone()).or_default().merge(summary);
            }
        }
        for (service, bits) in &other.services {
            *self.services.entry(service.clone()).or_default() |= bits;
        }
        self.waiting += other.waiting;
    }

    /// How many calls there are.
    pub fn calls(&self) -> u64 {
        self.calls.values().chain(self.adopted.values()).map(Summary::pairs).sum()
    }

    /// As a join takes it.
    pub fn whole(&self) -> Whole {
        let keys = RandomState::default();
        let [calls, adopted] = self.numbered(&keys);
        Whole { keys, calls, adopted }
    }

    /// Calls told by their ids, and those whose caller was found, by numbers of processes.
    pub fn numbered(&self, keys: &RandomState) -> [Evidence; 2] {
        let key = |(service, instance, rest): &Process| {
            crate::columns::processes::key_of(&(service.clone(), instance.clone()), rest, keys)
        };
        [&self.calls, &self.adopted]
            .map(|calls| calls.iter().map(|((a, b), summary)| ((key(a), key(b)), summary.clone())).collect())
    }

    /// Service → what it was seen to send.
    pub fn services(&self) -> &BTreeMap<String, u8> {
        &self.services
    }

    /// The API servers: those that are named, or else those that the evidence shows.
    pub fn apiservers(&self, named: Vec<String>) -> Apiservers {
        let mut apiservers = Apiservers::named(named);
        apiservers.hear(&self.services);
        apiservers
    }

    /// As JSON: equal evidence, equal text.
    pub fn to_json(&self) -> String {
        let calls = |calls: &Calls| -> Vec<Value> {
            calls
                .iter()
                .map(|((client, server), summary)| json!([client, server, summary.to_json()]))
                .collect()
        };
        json!({
            "calls": calls(&self.calls),
            "adopted": calls(&self.adopted),
            "services": self.services,
            "waiting": self.waiting,
        })
        .to_string()
    }

    /// Of what [`Self::to_json`] wrote; `None` if it is something else.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let process = |value: &Value| -> Option<Process> {
            let text = |at: usize| value.get(at)?.as_str().map(str::to_owned);
            Some((text(0)?, text(1), text(2)?))
        };
        let calls = |name: &str| -> Option<Calls> {
            let row = |row: &Value| {
                let pair = (process(row.get(0)?)?, process(row.get(1)?)?);
                Some((pair, Summary::from_json(row.get(2)?)?))
            };
            value.get(name)?.as_array()?.iter().map(row).collect()
        };
        let service =
            |(service, bits): (&String, &Value)| Some((service.clone(), u8::try_from(bits.as_u64()?).ok()?));
        Some(Self {
            calls: calls("calls")?,
            adopted: calls("adopted")?,
            services: value.get("services")?.as_object()?.iter().map(service).collect::<Option<_>>()?,
            waiting: value.get("waiting")?.as_u64()?,
        })
    }
}
