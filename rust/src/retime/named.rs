//! Calls that have a name of their own: a webhook's, or what an etcd call is for.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::NONE;
use crate::join::Joined;
use crate::numbers::u32_of;
use crate::tables::etcd_calls;
use crate::tables::etcd_operations::Operations;

/// Spans of kube-apiserver that are there for one call of a webhook, whose name is an attribute.
const WEBHOOK_SPANS: [&str; 2] = ["Call mutating webhook", "Call validating webhook"];

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// The span around a call of an admission webhook.
    Webhook,
    /// The outer span of an etcd call.
    Etcd,
}

impl CallKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Etcd => "etcd",
        }
    }
}

/// The calls that have a name.
#[derive(Debug, Default)]
pub struct Named {
    /// Number − 1 → kind and name, in order of first appearance.
    pub names: Vec<(CallKind, String)>,
    /// Row → number; 0 for spans that are no such call.
    pub of_row: Vec<u32>,
}

impl Named {
    /// Finds them. O(spans).
    pub fn new(joined: &Joined) -> Self {
        let c = &joined.columns;
        let mut named = Self { names: Vec::new(), of_row: vec![0; c.len()] };
        let mut numbers: HashMap<(CallKind, &str), u32, RandomState> = HashMap::default();
        let around = WEBHOOK_SPANS.map(|name| c.names.find(name.as_bytes()));
        let key = c.keys.find(b"webhook");
        let webhook = |&row: &u32| {
            let is_call = around.contains(&Some(c.spans.name[row as usize]));
            let name = is_call.then(|| c.span_text(row as usize, key)).flatten();
            name.map(|name| (row, CallKind::Webhook, name))
        };
        let webhooks = joined.forest.order.iter().filter_map(webhook);
        let calls = etcd_calls::calls(joined);
        let operations = Operations::new(joined);
        let operation = |call: &etcd_calls::EtcdCall| {
            (call.row(), CallKind::Etcd, operations.of(call.row(), call.server))
        };
        for (row, kind, name) in webhooks.chain(calls.iter().map(operation)) {
            debug_assert_ne!(row, NONE, "a call has a span");
            let next = u32_of(numbers.len()) + 1;
            let number = *numbers.entry((kind, name)).or_insert_with(|| {
                named.names.push((kind, name.to_owned()));
                next
            });
            named.of_row[row as usize] = number;
        }
        named
    }
}
