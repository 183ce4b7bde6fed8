//! One row per API request: what Kubernetes calls it, from whichever attributes that version used.

use crate::columns::{Columns, TextRef};
use crate::forest::{Forest, NONE};
use crate::intern::Interner;
use crate::join::{Role, id_key};
use crate::kube;
use crate::shapes::KnownNames;

/// The requests, by (start, trace id, span id). Words are numbers into `words`; the empty word means none.
#[derive(Debug, Clone, Default)]
pub struct RequestColumns {
    /// The SERVER span.
    pub root: Vec<u32>,
    /// The `authentication` span above it, or [`NONE`].
    pub prelude: Vec<u32>,
    /// The request that this one happened in, or [`NONE`].
    pub outer: Vec<u32>,
    /// How many requests it is inside.
    pub level: Vec<u32>,
    /// Verbs, groups, resources, namespaces, names.
    pub words: Interner,
    /// Kubernetes verb.
    pub verb: Vec<u32>,
    /// API group.
    pub api_group: Vec<u32>,
    /// API version.
    pub api_version: Vec<u32>,
    /// Plural resource name; none for a non-resource request.
    pub resource: Vec<u32>,
    /// Subresource.
    pub subresource: Vec<u32>,
    /// Namespace.
    pub namespace: Vec<u32>,
    /// Object name.
    pub object_name: Vec<u32>,
    /// HTTP method.
    pub http_method: Vec<u32>,
    /// HTTP status code, 0 when the span carries none.
    pub http_status: Vec<i64>,
    /// Request URI.
    pub target: Vec<TextRef>,
    /// User agent.
    pub user_agent: Vec<TextRef>,
    /// It stays open by its nature: watch, exec, attach, port forward, proxy, log.
    pub long_running: Vec<bool>,
    /// Row → the innermost request that it is in, or [`NONE`].
    pub of_row: Vec<u32>,
}

/// Attribute keys, the newer name first. A key that nobody sent has no number.
struct Keys {
    method: [Option<u32>; 2],
    target: [Option<u32>; 2],
    status: [Option<u32>; 2],
    user_agent: [Option<u32>; 2],
}

impl Keys {
    fn new(c: &Columns) -> Self {
        let find = |names: [&str; 2]| names.map(|name| c.keys.find(name.as_bytes()));
        Self {
            method: find(["http.request.method", "http.method"]),
            target: find(["http.target", "url.path"]),
            status: find(["http.response.status_code", "http.status_code"]),
            user_agent: find(["user_agent.original", "http.user_agent"]),
        }
    }
}

const LONG_RUNNING_VERBS: [&str; 2] = ["watch", "proxy"];
const LONG_RUNNING_SUBRESOURCES: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

impl RequestColumns {
    /// Reads the requests off their SERVER spans.
    pub fn new(
        c: &Columns,
        names: &KnownNames,
        forest: &Forest,
        role: &[Role],
        preludes: &[(u32, u32)],
        (start, _end): (&[i64], &[i64]),
    ) -> Self {
        let is_root = |&row: &u32| role[row as usize] == Role::Request && names.is_request(c, row as usize);
        let mut roots: Vec<u32> = forest.order.iter().copied().filter(is_root).collect();
        let order = |&row: &u32| {
            let row = row as usize;
            (start[row], c.spans.trace_id[row], id_key(c.spans.span_id[row]))
        };
        roots.sort_by_cached_key(order);
        let keys = Keys::new(c);
        let mut requests = Self::default();
        requests.words.intern_str("");
        for &root in &roots {
            requests.push(c, &keys, root as usize);
        }
        requests.root = roots;
        requests.nest(c.len(), forest);
        requests.prelude = vec![NONE; requests.root.len()];
        for &(above, root) in preludes {
            if let Some(at) = requests.of_row.get(root as usize).filter(|&&at| at != NONE) {
                requests.prelude[*at as usize] = above;
            }
        }
        requests
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.root.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    fn push(&mut self, c: &Columns, keys: &Keys, row: usize) {
        let text = |keys: [Option<u32>; 2]| keys.iter().find_map(|&key| c.span_attributes.string(row, key));
        let target = text(keys.target).unwrap_or_default();
        let name = c.names.text(c.spans.name[row]);
        let method = match text(keys.method) {
            Some(method) => c.text(method),
            None => name.split(' ').next().unwrap_or_default(),
        };
        let info = if target.is_empty() {
            kube::template_info(name).unwrap_or_default()
        } else {
            kube::request_info(method, c.text(target))
        };
        let words = &mut self.words;
        self.verb.push(words.intern_str(&info.verb));
        self.api_group.push(words.intern_str(&info.group));
        self.api_version.push(words.intern_str(&info.version));
        self.resource.push(words.intern_str(&info.resource));
        self.subresource.push(words.intern_str(&info.subresource));
        self.namespace.push(words.intern_str(&info.namespace));
        self.object_name.push(words.intern_str(&info.name));
        self.http_method.push(words.intern_str(method));
        let status = keys.status.iter().find_map(|&key| c.span_attributes.int(row, key));
        self.http_status.push(status.unwrap_or(0));
        self.target.push(target);
        self.user_agent.push(text(keys.user_agent).unwrap_or_default());
        let stays_open = LONG_RUNNING_VERBS.contains(&&*info.verb)
            || info.resource_request && LONG_RUNNING_SUBRESOURCES.contains(&&*info.subresource);
        self.long_running.push(stays_open);
    }

    /// Which request every row is in, and which request every request is in.
    fn nest(&mut self, rows: usize, forest: &Forest) {
        let n = self.root.len();
        (self.of_row, self.outer, self.level) = (vec![NONE; rows], vec![NONE; n], vec![0; n]);
        for (at, &root) in self.root.iter().enumerate() {
            self.of_row[root as usize] = at as u32;
        }
        let mut open: Vec<(u32, usize)> = Vec::new();
        for (place, &row) in forest.order.iter().enumerate() {
            while open.last().is_some_and(|&(_, end)| end <= place) {
                open.pop();
            }
            let own = self.of_row[row as usize];
            if own != NONE {
                self.outer[own as usize] = open.last().map_or(NONE, |&(request, _)| request);
                self.level[own as usize] = open.len() as u32;
                open.push((own, place + forest.size[place] as usize));
            } else if let Some(&(request, _)) = open.last() {
                self.of_row[row as usize] = request;
            }
        }
    }
}
