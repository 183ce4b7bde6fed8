//! Joined spans and their attribution, as Python sees them.

use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::attributed::AttributedRequests;
use super::errors::{arrow_err, numbers, room};
use super::groups::GroupedRows;
use super::retimed::{EditsRow, RetimedRequests, edits_of};
use super::spans::SpanColumns;
use super::table::Table;
use crate::Columns;
use crate::arrow;
use crate::attribute::blame::Blame;
use crate::attribute::sweep::Overlap;
use crate::attribute::{self, EventRule, Method, Phase, PhaseTable, Signatures};
use crate::columns::{NONE, run};
use crate::decode::write::push_varint;
use crate::findings::interference::{self, Sums};
use crate::findings::{clients, critical, held, stalls, telling};
use crate::join::Joined;
use crate::join::apiservers::Apiservers;
use crate::join::known_names::SYNCS;
use crate::join::role::Role;
use crate::retime::edits::Op;
use crate::retime::named::Named;
use crate::retime::{self};
use crate::tables::call_counts::call_counts;
use crate::tables::trees::{self, Trees};
use crate::tables::{self, conflicts, etcd_calls, issues, syncs, webhook_calls};

type Text = Option<String>;
/// Service, scope, kind, name, parent, leaf, request verb, detail.
type SignatureRow = (String, String, i32, String, Text, bool, Text, Text);
/// Signature number, event name, `before`, `after`.
type EventRow = (u32, u32, Option<Phase>, Option<Phase>);
/// The four parts of [`Blame`].
type BlameRow = (Vec<u16>, Vec<bool>, Vec<Vec<u16>>, Vec<Vec<Phase>>);

/// Heavy calls, rows of calls that began meanwhile, sums of logarithms and of ns: by those, and by the placebo.
type MemberRow = (usize, Vec<u32>, [Sums; 2], [Sums; 2]);

/// Request, row, trace id, span id, phase, ns on the critical path.
type ToldRow = (usize, u32, String, String, Phase, u64);

/// A column by name.
type NamedBytes<'py> = (&'static str, Bound<'py, PyBytes>);

/// The rules' answers about the signatures of a join.
#[pyclass(frozen, module = "k8strace._core")]
pub struct Answers(PhaseTable);

/// Spans joined into call trees, with their signatures.
#[pyclass(frozen, module = "k8strace._core")]
pub struct JoinedSpans {
    joined: Joined,
    signatures: Signatures,
    /// Made when asked for.
    named: OnceLock<Named>,
    /// The same.
    etcd: OnceLock<etcd_calls::Known>,
}

/// Joins spans, on at most `threads` threads. `apiserver`: names of the services that are API servers; without any they
/// are recognised.
#[pyfunction]
fn join(
    py: Python<'_>,
    spans: &SpanColumns,
    apiserver: Vec<String>,
    threads: usize,
) -> PyResult<JoinedSpans> {
    let columns = Arc::clone(&spans.0);
    room(columns.len(), "joined spans")?;
    let apiservers = Apiservers::named(apiserver);
    Ok(py.detach(|| JoinedSpans::new(crate::join::join_of(columns, apiservers, threads))))
}

#[pymethods]
impl JoinedSpans {
    /// Whether a service is an API server here.
    fn is_apiserver(&self, service: &str) -> bool {
        self.joined.apiservers.contains(service)
    }

    /// An attribute of the resource of each request's SERVER span, or each sync's span, as text.
    fn resource(&self, key: &str, table: &str) -> Vec<Option<String>> {
        let c = &self.joined.columns;
        let roots = if table == "syncs" { &self.joined.syncs.root } else { &self.joined.requests.root };
        let of_resource = |row: usize| {
            let attributes = arrow::texts(c, &c.resource_attributes, row);
            attributes.into_iter().find(|(name, _)| name == key).and_then(|(_, value)| value)
        };
        let known: Vec<Option<String>> = (0..c.resources.batch.len()).map(of_resource).collect();
        roots.iter().map(|&root| known[c.resource_of(root as usize)].clone()).collect()
    }

    /// How many requests there are.
    fn __len__(&self) -> usize {
        self.joined.requests.len()
    }

    /// Counts by name: traces, requests, `rpc_pairs`, `cri_pairs`, `background_calls`, syncs.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        let j = &self.joined;
        let cri_pairs =
            j.syncs.calls.iter().filter(|call| call.client != NONE && call.server != NONE).count();
        vec![
            ("traces", u64::from(j.traces)),
            ("requests", j.requests.len() as u64),
            ("rpc_pairs", j.rpc_pairs.len().saturating_sub(cri_pairs) as u64),
            ("cri_pairs", cri_pairs as u64),
            ("background_calls", j.background.len() as u64),
            ("syncs", j.syncs.len() as u64),
        ]
    }

    /// (role, is a use, spans), in the ledger's order.
    fn ledger(&self) -> Vec<(&'static str, bool, u64)> {
        let counts = tables::ledger(&self.joined);
        let rows = Role::NAMES.iter().zip(counts).enumerate();
        rows.map(|(at, (name, count))| (*name, at < Role::USED, count)).collect()
    }

    /// One of the tables "requests", "repairs", "issues", "clock_offsets", "etcd_calls", "etcd_call_details",
    /// "webhook_calls", "webhook_call_details", "conflicts", "silences",
    /// "syncs", "cri_calls", "kubelet_requests".
    fn table(&self, py: Python<'_>, table: &str) -> PyResult<Table> {
        let build = match table {
            "requests" => tables::requests,
            "repairs" => tables::repairs,
            "issues" => issues::table,
            "clock_offsets" => tables::clock_offsets,
            "etcd_calls" => etcd_calls::table,
            "etcd_call_details" => etcd_calls::details,
            "webhook_calls" => webhook_calls::table,
            "webhook_call_details" => webhook_calls::details,
            "conflicts" => conflicts::table,
            "silences" => stalls::table,
            "syncs" => syncs::table,
            "cri_calls" => syncs::cri_calls,
            "kubelet_requests" => syncs::kubelet_requests,
            _ => return Err(PyValueError::new_err(format!("no table {table:?}"))),
        };
        room(self.joined.columns.len(), "a table")?;
        py.detach(|| build(&self.joined)).map(Table::from).map_err(arrow_err)
    }

    /// The table "issues" behind what was torn on reading: code, severity, how many, and what in words.
    fn issues_with(&self, py: Python<'_>, torn: Vec<issues::Torn>) -> PyResult<Table> {
        py.detach(|| issues::table_with(&torn, &self.joined)).map(Table::from).map_err(arrow_err)
    }

    /// What stalls held up: (stall, row of a span, from, to). Of each stall: process, from, to.
    fn held(&self, py: Python<'_>, stalls: Vec<held::Stall>) -> PyResult<Vec<(u32, u32, i64, i64)>> {
        let processes = self.joined.processes.names.len();
        match stalls.iter().find(|&&(process, ..)| process as usize >= processes) {
            Some((process, ..)) => Err(PyIndexError::new_err(format!("process {process} of {processes}"))),
            None => Ok(py.detach(|| held::held(&self.joined, &stalls))),
        }
    }

    /// The etcd calls of these requests that a finding can be made of: rows of "etcd_call_details".
    fn telling_calls(&self, py: Python<'_>, requests: Vec<usize>) -> PyResult<Table> {
        self.check(&requests)?;
        py.detach(|| telling::table(&self.joined, self.etcd(), &requests)).map(Table::from).map_err(arrow_err)
    }

    /// Members of etcd with heavy calls, and calls that began meanwhile beside others like them.
    fn interference(&self, py: Python<'_>, fewest: usize, blocks: usize) -> Vec<MemberRow> {
        let members = py.detach(|| interference::members(&self.joined, self.etcd(), fewest, blocks));
        members.into_iter().map(|member| (member.heavy, member.during, member.logs, member.ns)).collect()
    }

    /// How long spans took, in ns.
    fn lengths(&self, spans: Vec<usize>) -> PyResult<Vec<i64>> {
        let (start, end) = (&self.joined.start, &self.joined.end);
        let of = |row: usize| end.get(row).map(|end| (end - start[row]).max(0));
        let known = || PyIndexError::new_err(format!("one of these spans is not among the {}", end.len()));
        spans.into_iter().map(of).collect::<Option<_>>().ok_or_else(known)
    }

    /// Of some requests: how many traces they are in, and the greatest of the first and of the last halves of their ids.
    fn greatest_trace_ids(&self, requests: Vec<usize>) -> PyResult<(usize, u64, u64)> {
        self.check(&requests)?;
        let ids = &self.joined.columns.spans.trace_id;
        let of = |request: usize| halves(ids[self.joined.requests.root[request] as usize]);
        let distinct: HashSet<[u64; 2], RandomState> = requests.into_iter().map(of).collect();
        let most = |half: fn([u64; 2]) -> u64| distinct.iter().map(|&id| half(id)).max().unwrap_or(0);
        Ok((distinct.len(), most(|[first, _]| first), most(|[_, last]| last)))
    }

    /// The role of every span, as an index into the ledger's order.
    fn roles(&self) -> Vec<u8> {
        self.joined.role.iter().map(|&role| role as u8).collect()
    }

    /// The distinct signatures.
    fn signatures(&self) -> Vec<SignatureRow> {
        let (c, words) = (&self.joined.columns, &self.joined.requests.words);
        let text = |id: u32| (id != NONE).then(|| c.names.text(id).to_owned());
        let verb = |s: &attribute::Signature| match (s.verb, s.resource_request) {
            (NONE, _) => None,
            (_, false) => Some("nonresource".to_owned()),
            (verb, true) => Some(words.text(verb).to_owned()),
        };
        let rows = self.signatures.list.iter().map(|s| {
            let service = self.signatures.services[s.service as usize].clone();
            let name = |id: u32| c.names.text(id).to_owned();
            (
                service,
                name(s.scope),
                s.kind,
                name(s.name),
                text(s.parent),
                s.leaf,
                verb(s),
                s.detail.name().map(str::to_owned),
            )
        });
        rows.collect()
    }

    /// The distinct (signature number, event name number, event name). The first call below a sync is one of it.
    fn events(&self) -> Vec<(u32, u32, String)> {
        let names = &self.joined.columns.names;
        let sent = self.signatures.events.iter().map(|&(s, name)| (s, name, names.text(name).to_owned()));
        let is_sync = |s: &&attribute::Signature| s.parent == NONE && SYNCS.contains(&names.text(s.name));
        let first_call = (attribute::FIRST_CALL, attribute::FIRST_CALL_NAME);
        let syncs = (0..).zip(&self.signatures.list).filter(|(_, s)| is_sync(s));
        sent.chain(syncs.map(|(s, _)| (s, first_call.0, first_call.1.to_owned()))).collect()
    }

    /// The rules' answers: phase of every signature, events, how many phases, and what changes below calls.
    fn answers(
        &self,
        phase: Vec<Phase>,
        events: Vec<EventRow>,
        phases: usize,
        blame: BlameRow,
    ) -> PyResult<Answers> {
        let (call, stays, next, label) = blame;
        let blame = Blame { call, stays, next, label };
        let known = |phase: Option<Phase>| phase.is_none_or(|phase| usize::from(phase) < phases);
        let fits = phase.len() == self.signatures.list.len()
            && phase.iter().all(|&phase| known(Some(phase)))
            && events.iter().all(|&(s, _, b, a)| (s as usize) < phase.len() && known(b) && known(a))
            && blame.fits(phase.len(), phases);
        if !fits {
            return Err(PyValueError::new_err(
                "one known phase per signature, and known signatures, phases, calls and contexts",
            ));
        }
        let rules =
            events.into_iter().map(|(s, name, before, after)| ((s, name), EventRule { before, after }));
        Ok(Answers(PhaseTable { phase, events: rules.collect(), phases, blame }))
    }

    /// Divides the wall time of these requests, or of all, by the rules' answers.
    fn attribute(
        &self,
        py: Python<'_>,
        answers: &Answers,
        method: &str,
        overlap: &str,
        requests: Option<Vec<usize>>,
    ) -> PyResult<AttributedRequests> {
        let table = self.phase_table(answers)?;
        let how = (method_of(method)?, overlap_of(overlap)?);
        self.check(requests.as_deref().unwrap_or_default())?;
        let chosen = requests.map(|requests| {
            let mut chosen = vec![false; self.joined.requests.len()];
            for request in requests {
                chosen[request] = true;
            }
            chosen
        });
        let is_chosen = |request: usize| chosen.as_ref().is_none_or(|chosen| chosen[request]);
        room(self.joined.columns.len(), "divided requests")?;
        let attributed =
            py.detach(|| attribute::attribute_chosen(&self.joined, &self.signatures, table, how, is_chosen));
        Ok(AttributedRequests(attributed))
    }

    /// Divides the wall time of syncs: of each up to an instant, in ns since the epoch, or not at all where it is None.
    /// Without instants, of all of them. Only the critical path can be divided in part.
    fn attribute_syncs(
        &self,
        py: Python<'_>,
        answers: &Answers,
        method: &str,
        overlap: &str,
        until: Option<Vec<Option<i64>>>,
    ) -> PyResult<AttributedRequests> {
        let table = self.phase_table(answers)?;
        let how = (method_of(method)?, overlap_of(overlap)?);
        if until.as_ref().is_some_and(|until| until.len() != self.joined.syncs.len()) {
            return Err(PyValueError::new_err("one instant per sync"));
        }
        let until = |sync: usize| until.as_ref().map_or(Some(i64::MAX), |until| until[sync]);
        let attributed =
            py.detach(|| attribute::attribute_syncs(&self.joined, &self.signatures, table, how, until));
        Ok(AttributedRequests(attributed))
    }

    /// The tree of one sync.
    fn explain_sync(&self, sync: usize, answers: &Answers) -> PyResult<Explained> {
        let known = self.joined.syncs.len();
        if sync >= known {
            return Err(PyIndexError::new_err(format!("sync {sync} of {known}")));
        }
        let table = self.phase_table(answers)?;
        Ok(self.explained(attribute::explain_sync(&self.joined, &self.signatures, table, sync)))
    }

    /// Calls that have a name: (kind, name), numbered from 1 on.
    fn named_calls(&self) -> Vec<(&'static str, String)> {
        self.named().names.iter().map(|(kind, name)| (kind.name(), name.clone())).collect()
    }

    /// How long these requests take if some parts of them take another time.
    fn retime(
        &self,
        py: Python<'_>,
        answers: &Answers,
        edits: EditsRow,
        requests: Vec<usize>,
        like: Option<&RetimedRequests>,
    ) -> PyResult<RetimedRequests> {
        let table = self.phase_table(answers)?;
        self.check(&requests)?;
        let edits = edits_of(edits)?;
        let all = self.joined.requests.len();
        let by_name = |op| matches!(op, Op::Takes { .. });
        let anonymous = edits.set.is_empty() && !edits.calls.iter().any(|edit| by_name(edit.op));
        let named = if anonymous { &Named::default() } else { self.named() };
        if !edits.fits(self.signatures.list.len(), table.phases, all, named.names.len()) {
            return Err(PyValueError::new_err(
                "expected known numbers, and times and factors from 0 to 2**60",
            ));
        }
        let like = like.map(|like| &like.0);
        if like.is_some_and(|like| like.touched.len() != all) {
            return Err(PyValueError::new_err("expected times of the same requests"));
        }
        room(self.joined.columns.len(), "re-timed requests")?;
        let mut chosen = vec![false; all];
        for &request in &requests {
            chosen[request] = true;
        }
        let retimed = py.detach(|| {
            retime::retime(&self.joined, &self.signatures, table, (named, &edits), like, |request| {
                chosen[request]
            })
        });
        Ok(RetimedRequests(retimed))
    }

    /// Request → its block of time; 0 for those that are not among these.
    fn blocks(&self, requests: Vec<usize>, count: u8) -> PyResult<Vec<u8>> {
        self.check(&requests)?;
        Ok(retime::summary::blocks(&self.joined, &requests, count))
    }

    /// Per span, between begin and end: ns of a request's critical path below it and within the times; and that request,
    /// the one of these that holds it. None of these is inside another one.
    fn critical_within(
        &self,
        py: Python<'_>,
        requests: Vec<usize>,
        windows: Vec<critical::Window>,
    ) -> PyResult<(Vec<u64>, Vec<Option<u32>>)> {
        self.check(&requests)?;
        let known = self.joined.columns.len();
        if let Some((row, ..)) = windows.iter().find(|&&(row, ..)| row as usize >= known) {
            return Err(PyIndexError::new_err(format!("span {row} of {known}")));
        }
        let (ns, held) = py.detach(|| critical::within(&self.joined, &requests, &windows));
        Ok((ns, held.into_iter().map(|request| Some(request).filter(|&at| at != NONE)).collect()))
    }

    /// The rows of a table about calls that these requests hold, with the columns `held` and `critical_ns`.
    fn held_calls(&self, py: Python<'_>, requests: Vec<usize>, table: &Table) -> PyResult<Table> {
        self.check(&requests)?;
        let table = py.detach(|| critical::with_part(&self.joined, &requests, &table.0));
        table.map(Table::from).map_err(arrow_err)
    }

    /// In groups of gets and lists, by start: the number of a group, the gets that follow lists one by one, at least
    /// `fewest`, and how many lists; of groups with such. A pause `pause` times as long as the median one ends a run.
    fn gets_after_lists(
        &self,
        reads: &GroupedRows,
        fewest: usize,
        pause: i64,
    ) -> PyResult<Vec<(usize, Vec<u32>, usize)>> {
        self.check_all(reads)?;
        let of = |group: usize| {
            let rows = reads.groups.rows_of(group);
            let (gets, lists) = clients::gets_after_lists(&self.joined, rows, fewest, pause);
            (group, gets, lists)
        };
        Ok((0..reads.groups.end.len()).map(of).filter(|(_, gets, _)| !gets.is_empty()).collect())
    }

    /// Those of the rows, lists, after which the same client watches the same resource, less than `within` ns after their
    /// end. `requests`: by start, among them the watches; None: all.
    fn lists_before_watches(
        &self,
        requests: Option<Vec<usize>>,
        rows: &GroupedRows,
        within: i64,
    ) -> PyResult<Vec<u32>> {
        self.check_all(rows)?;
        let requests = requests.unwrap_or_else(|| (0..self.joined.requests.len()).collect());
        self.check(&requests)?;
        Ok(clients::lists_before_watches(&self.joined, &requests, &rows.groups.rows, within))
    }

    /// Those of a group, by start, that begin when none of it has been open for that time, in ns.
    fn after_silence(&self, rows: &GroupedRows, group: usize, silent: i64) -> PyResult<Vec<u32>> {
        self.check_all(rows)?;
        Ok(clients::after_silence(&self.joined, rows.groups.rows_of(group), silent))
    }

    /// From when to when some requests lasted, in ns since the epoch; None of none.
    fn lasted(&self, requests: Vec<usize>) -> PyResult<Option<(i64, i64)>> {
        self.check(&requests)?;
        Ok(clients::lasted(&self.joined, &requests))
    }

    /// The tree of one request.
    fn explain(&self, request: usize, answers: &Answers) -> PyResult<Explained> {
        self.check(&[request])?;
        let table = self.phase_table(answers)?;
        Ok(self.explained(attribute::explain(&self.joined, &self.signatures, table, request)))
    }

    /// Of every span in the trees of these requests: (request, row, trace id, span id, phase, ns on the critical path).
    fn told(&self, py: Python<'_>, requests: Vec<usize>, answers: &Answers) -> PyResult<Vec<ToldRow>> {
        self.check(&requests)?;
        let table = self.phase_table(answers)?;
        let spans = &self.joined.columns.spans;
        let (mut told, mut ahead) = (Vec::new(), requests.iter());
        py.detach(|| {
            attribute::explain_each(&self.joined, &self.signatures, table, &requests, |nodes, _| {
                let request = ahead.next().copied().unwrap_or_default();
                told.extend(nodes.iter().map(|node| {
                    let (trace, span) = (spans.trace_id[node.row as usize], spans.span_id[node.row as usize]);
                    (request, node.row, hex::encode(trace), hex::encode(span), node.phase, node.critical_ns)
                }));
            });
        });
        Ok(told)
    }

    /// The spans of these requests as people want to know them, of each in preorder.
    fn span_views(&self, requests: Vec<usize>, answers: &Answers) -> PyResult<Vec<Vec<SpanView>>> {
        self.check(&requests)?;
        let table = self.phase_table(answers)?;
        let mut views = Vec::with_capacity(requests.len());
        attribute::explain_each(&self.joined, &self.signatures, table, &requests, |nodes, _| {
            views.push(nodes.iter().map(|node| self.span(node.row)).collect());
        });
        Ok(views)
    }

    /// The trees of these requests as columns of varints by name, and the names that they number.
    fn trees<'py>(
        &self,
        py: Python<'py>,
        requests: Vec<usize>,
        answers: &Answers,
    ) -> PyResult<(Vec<NamedBytes<'py>>, Vec<String>)> {
        self.check(&requests)?;
        let table = self.phase_table(answers)?;
        let found = py.detach(|| trees::trees(&self.joined, &self.signatures, table, &requests));
        let names = found.names.iter().map(|&name| self.joined.columns.names.text(name).to_owned());
        let names = names.collect();
        let columns = columns_of(found).into_iter().map(|(name, bytes)| (name, PyBytes::new(py, &bytes)));
        Ok((columns.collect(), names))
    }

    /// Service and instance id of every process.
    fn processes(&self) -> Vec<(String, Option<String>)> {
        let known = self.joined.processes.names.iter();
        known.map(|(service, instance)| (service.clone(), instance.clone())).collect()
    }

    /// Who called whom between groups of phases: (from, to, calls, ns).
    fn calls(
        &self,
        answers: &Answers,
        group: Vec<u32>,
        requests: Option<Vec<usize>>,
    ) -> PyResult<Vec<(u32, u32, u64, u64)>> {
        let table = self.phase_table(answers)?;
        self.check(requests.as_deref().unwrap_or_default())?;
        if group.len() != table.phases {
            return Err(PyValueError::new_err("one group per phase"));
        }
        Ok(tables::calls(&self.joined, &self.signatures, table, &group, requests.as_deref()))
    }

    /// Calls into each group of phases, per request: `requests × groups` numbers of 8 bytes, as the machine stores them.
    fn call_counts<'py>(
        &self,
        py: Python<'py>,
        answers: &Answers,
        group: Vec<u32>,
        groups: usize,
        requests: Vec<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let table = self.phase_table(answers)?;
        self.check(&requests)?;
        if group.len() != table.phases || group.iter().any(|&group| group as usize >= groups) {
            return Err(PyValueError::new_err("one known group per phase"));
        }
        room(requests.len().saturating_mul(groups), "counts of calls")?;
        let counts =
            py.detach(|| call_counts(&self.joined, &self.signatures, table, (&group, groups), &requests));
        Ok(numbers(py, &counts))
    }
}

impl JoinedSpans {
    /// With the signatures of the used spans.
    pub fn new(joined: Joined) -> Self {
        let signatures = Signatures::new(&joined);
        Self { joined, signatures, named: OnceLock::new(), etcd: OnceLock::new() }
    }

    /// The spans in their trees.
    pub fn inner(&self) -> &Joined {
        &self.joined
    }

    fn etcd(&self) -> &etcd_calls::Known {
        self.etcd.get_or_init(|| etcd_calls::Known::new(&self.joined))
    }

    fn named(&self) -> &Named {
        self.named.get_or_init(|| Named::new(&self.joined))
    }

    fn explained(&self, (nodes, segments): (Vec<attribute::Node>, Vec<attribute::Segment>)) -> Explained {
        let rows: Vec<u32> = nodes.iter().map(|node| node.row).collect();
        Explained {
            span: rows.iter().map(|&row| self.span(row)).collect(),
            phase: nodes.iter().map(|node| node.phase).collect(),
            time: nodes.iter().map(|n| (n.start, n.end, n.critical_ns, n.self_ns)).collect(),
            segments,
        }
    }

    /// Refuses rows of a table that has others.
    fn check_all(&self, rows: &GroupedRows) -> PyResult<()> {
        let all = self.joined.requests.len();
        let known = rows.groups.rows.iter().all(|&row| (row as usize) < all);
        if known { Ok(()) } else { Err(PyIndexError::new_err(format!("requests of {all}"))) }
    }

    /// Refuses requests that are not here.
    fn check(&self, requests: &[usize]) -> PyResult<()> {
        let known = self.joined.requests.len();
        match requests.iter().find(|&&request| request >= known) {
            Some(request) => Err(PyIndexError::new_err(format!("request {request} of {known}"))),
            None => Ok(()),
        }
    }

    /// The answers, if they are about these signatures.
    fn phase_table<'a>(&self, Answers(table): &'a Answers) -> PyResult<&'a PhaseTable> {
        let fits = table.phase.len() == self.signatures.list.len();
        fits.then_some(table)
            .ok_or_else(|| PyValueError::new_err("answers about the signatures of another join"))
    }

    fn span(&self, row: u32) -> SpanView {
        let (j, at) = (&self.joined, row as usize);
        let c = &j.columns;
        let process = &j.processes.names[j.processes.of(c, at) as usize];
        let events = run(&c.spans.events_end, at);
        SpanView {
            row,
            parent: j.parent[at],
            trace_id: hex::encode(c.spans.trace_id[at]),
            span_id: hex::encode(c.spans.span_id[at]),
            name: c.names.text(c.spans.name[at]).to_owned(),
            kind: c.spans.kind[at],
            status_code: c.spans.status_code[at],
            status_message: c.text(c.spans.status_message[at]).to_owned(),
            service: process.0.clone(),
            instance: process.1.clone(),
            start: j.start[at],
            end: j.end[at],
            raw_start: c.spans.start_time_unix_nano[at],
            raw_end: c.spans.end_time_unix_nano[at],
            attributes: arrow::texts(c, &c.span_attributes, at),
            error: error_of(c, at),
            events: events
                .map(|e| (c.events.time_unix_nano[e], c.names.text(c.events.name[e]).to_owned()))
                .collect(),
        }
    }
}

/// Attributes of events that say what went wrong: OpenTelemetry's, and kube-apiserver's.
const ERROR_TEXTS: [&str; 2] = ["exception.message", "err"];

/// What went wrong, in the sender's words: the status message of an error, else that of the last event with one.
fn error_of(c: &Columns, row: usize) -> Text {
    const ERROR: i32 = 2;
    let message = c.text(c.spans.status_message[row]);
    if c.spans.status_code[row] == ERROR && !message.is_empty() {
        return Some(message.to_owned());
    }
    let told = |event: usize| {
        let texts = arrow::texts(c, &c.event_attributes, event);
        texts.into_iter().find(|(key, _)| ERROR_TEXTS.contains(&key.as_str())).and_then(|(_, text)| text)
    };
    run(&c.spans.events_end, row).rev().find_map(told)
}

fn columns_of(trees: Trees) -> [(&'static str, Vec<u8>); 14] {
    [
        ("up", trees.up),
        ("name", trees.name),
        ("process", trees.process),
        ("kind", trees.kind),
        ("phase", trees.phase),
        ("start", trees.start),
        ("duration", trees.duration),
        ("cut_start", trees.cut_start),
        ("cut_end", trees.cut_end),
        ("self_ns", trees.self_ns),
        ("counts", trees.counts),
        ("waited", trees.waited),
        ("length", trees.length),
        ("spent", trees.spent),
    ]
}

/// Numbers as varints, zigzag where they can be negative.
#[pyfunction]
fn varints(py: Python<'_>, values: Vec<i64>, signed: bool) -> Bound<'_, PyBytes> {
    let mut out = Vec::with_capacity(values.len() * 2);
    for value in values {
        if signed { trees::zigzag(&mut out, value) } else { push_varint(&mut out, value.cast_unsigned()) }
    }
    PyBytes::new(py, &out)
}

fn method_of(name: &str) -> PyResult<Method> {
    match name {
        "critical_path" => Ok(Method::CriticalPath),
        "active_share" => Ok(Method::ActiveShare),
        "self_time" => Ok(Method::SelfTime),
        _ => Err(PyValueError::new_err(format!(
            "expected method \"critical_path\", \"active_share\" or \"self_time\", got {name:?}"
        ))),
    }
}

fn overlap_of(name: &str) -> PyResult<Overlap> {
    match name {
        "clip" => Ok(Overlap::Clip),
        "happens_before" => Ok(Overlap::HappensBefore),
        _ => Err(PyValueError::new_err(format!(
            "expected overlap \"clip\" or \"happens_before\", got {name:?}"
        ))),
    }
}

/// What people want to know of one span.
#[pyclass(frozen, get_all, module = "k8strace._core")]
#[derive(Clone)]
pub struct SpanView {
    row: u32,
    parent: u32,
    trace_id: String,
    span_id: String,
    name: String,
    kind: i32,
    status_code: i32,
    status_message: String,
    error: Text,
    service: String,
    instance: Option<String>,
    start: i64,
    end: i64,
    raw_start: u64,
    raw_end: u64,
    events: Vec<(u64, String)>,
    attributes: Vec<(String, Text)>,
}

/// The tree of one request: spans in preorder, what each is, (start, end, critical ns, self ns) of each, and the
/// critical path as (node, from, to, phase), earliest first.
#[pyclass(frozen, get_all, module = "k8strace._core")]
pub struct Explained {
    span: Vec<SpanView>,
    phase: Vec<Phase>,
    time: Vec<(i64, i64, u64, u64)>,
    segments: Vec<attribute::Segment>,
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Answers>()?;
    module.add_class::<JoinedSpans>()?;
    module.add_class::<Explained>()?;
    module.add_class::<SpanView>()?;
    module.add_function(wrap_pyfunction!(varints, module)?)?;
    module.add_function(wrap_pyfunction!(join, module)?)
}

/// A trace id as two numbers.
fn halves(id: [u8; 16]) -> [u64; 2] {
    let [first @ .., _, _, _, _, _, _, _, _] = id;
    let [_, _, _, _, _, _, _, _, last @ ..] = id;
    [u64::from_be_bytes(first), u64::from_be_bytes(last)]
}
