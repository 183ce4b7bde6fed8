//! One row per API request: what Kubernetes calls it, from whichever attributes that version used.

use std::borrow::Cow;

use crate::columns::{Columns, TextRef, run};
use crate::forest::{Forest, NONE};
use crate::index::Index;
use crate::intern::Interner;
use crate::join::{Role, id_key};
use crate::kube::{self, RequestInfo};
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
    /// The request whose tree holds the span that a link of this one names, or [`NONE`].
    pub linked_from: Vec<u32>,
    /// The CLIENT span of its caller, outside requests: its parent, or else what a link names; or [`NONE`].
    pub caller: Vec<u32>,
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
    /// It stays open by its nature: watch, exec, attach, port forward, proxy, log, and whatever became a stream.
    pub long_running: Vec<bool>,
    /// Row → the innermost request that it is in, or [`NONE`].
    pub of_row: Vec<u32>,
}

/// Attribute keys, the newer name first. A key that nobody sent has no number.
pub struct Keys {
    method: [Option<u32>; 2],
    target: Option<u32>,
    path: Option<u32>,
    query: Option<u32>,
    status: [Option<u32>; 2],
    user_agent: [Option<u32>; 2],
    handler: Handler,
}

/// Attributes of the handler's span.
struct Handler {
    url: Option<u32>,
    verb: Option<u32>,
    group: Option<u32>,
    version: Option<u32>,
    resource: Option<u32>,
    subresource: Option<u32>,
    namespace: Option<u32>,
    name: Option<u32>,
}

impl Keys {
    /// Looks the keys up.
    pub fn new(c: &Columns) -> Self {
        let find = |name: &str| c.keys.find(name.as_bytes());
        let either = |names: [&str; 2]| names.map(find);
        Self {
            method: either(["http.request.method", "http.method"]),
            target: find("http.target"),
            path: find("url.path"),
            query: find("url.query"),
            status: either(["http.response.status_code", "http.status_code"]),
            user_agent: either(["user_agent.original", "http.user_agent"]),
            handler: Handler {
                url: find("url"),
                verb: find("verb"),
                group: find("api-group"),
                version: find("api-version"),
                resource: find("resource"),
                subresource: find("subresource"),
                namespace: find("namespace"),
                name: find("name"),
            },
        }
    }

    /// Method and target with its query, as far as a request's SERVER span tells them.
    pub fn asked<'a>(&self, c: &'a Columns, row: usize) -> (&'a str, Cow<'a, str>) {
        let text = |key| c.span_text(row, key).filter(|text| !text.is_empty());
        let method = self.method.iter().find_map(|&key| text(key));
        let method = method.unwrap_or_else(|| kube::method_of_name(c.names.text(c.spans.name[row])));
        let target = match (text(self.target), text(self.path), text(self.query)) {
            (Some(whole), ..) => Cow::Borrowed(whole),
            (None, Some(path), Some(query)) => Cow::Owned(format!("{path}?{query}")),
            (None, path, _) => Cow::Borrowed(path.unwrap_or_default()),
        };
        (method, target)
    }

    /// A request's SERVER span tells its method, and no status.
    pub fn is_unanswered(&self, c: &Columns, row: usize) -> bool {
        self.status(c, row).is_none()
            && self.method.iter().any(|&key| c.span_attributes.string(row, key).is_some())
    }

    /// The HTTP status of a request's SERVER span.
    #[inline]
    pub fn status(&self, c: &Columns, row: usize) -> Option<i64> {
        self.status.iter().find_map(|&key| c.span_attributes.int(row, key))
    }
}

impl Handler {
    /// Fills in what a span's name or a bare path cannot tell.
    fn complete<'a>(&self, c: &'a Columns, row: usize, info: &mut RequestInfo<'a>) {
        let text = |key| c.span_text(row, key).unwrap_or_default();
        let watches = text(self.verb).eq_ignore_ascii_case("watch");
        let verb = match c.names.text(c.spans.name[row]) {
            "Create" => "create",
            "Get" => "get",
            "List" if !watches => "list",
            "List" | "WatchList" => "watch",
            "Patch" => "patch",
            "Update" => "update",
            _ if info.verb == "deletecollection" => "deletecollection",
            _ => "delete",
        };
        info.verb = Cow::Borrowed(verb);
        let parts = [
            (&mut info.group, self.group),
            (&mut info.version, self.version),
            (&mut info.resource, self.resource),
            (&mut info.subresource, self.subresource),
            (&mut info.namespace, self.namespace),
            (&mut info.name, self.name),
        ];
        for (part, key) in parts.into_iter().filter(|(part, _)| part.is_empty()) {
            *part = Cow::Borrowed(text(key));
        }
        info.resource_request |= !info.resource.is_empty();
    }
}

/// The rows that a request has as its parent or names in a span link.
pub fn called_by(c: &Columns, index: &Index<'_>, row: usize) -> impl Iterator<Item = u32> {
    let s = &c.spans;
    let links = run(&s.links_end, row).map(|link| (&c.links.trace_id[link], &c.links.span_id[link]));
    let ids = std::iter::once((&s.trace_id[row], &s.parent_span_id[row])).chain(links);
    ids.filter_map(|(trace_id, span_id)| index.find(trace_id, span_id))
}

/// What is below a request, requests inside it left out.
#[derive(Clone, Copy)]
struct Below<'a> {
    c: &'a Columns,
    names: &'a KnownNames,
    forest: &'a Forest,
    root: u32,
}

impl Below<'_> {
    /// The first span of its handler.
    fn handler(self) -> Option<u32> {
        self.find(|row| self.names.is_verb(self.c, row))
    }

    /// Something that only a watch has.
    fn is_watch(self) -> bool {
        self.find(|row| self.names.is_of_watch(self.c, row)).is_some()
    }

    fn find(self, fits: impl Fn(usize) -> bool) -> Option<u32> {
        let Self { c, names, forest, root } = self;
        let first = forest.position[root as usize] as usize;
        let (mut place, end) = (first + 1, first + forest.size[first] as usize);
        while place < end {
            let row = forest.order[place];
            if fits(row as usize) {
                return Some(row);
            }
            place += if names.is_request(c, row as usize) { forest.size[place] as usize } else { 1 };
        }
        None
    }
}

/// The connection is a stream from here on.
const SWITCHING_PROTOCOLS: i64 = 101;
const LONG_RUNNING_VERBS: [&str; 2] = ["watch", "proxy"];
const LONG_RUNNING_SUBRESOURCES: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

impl RequestColumns {
    /// Reads the requests off their SERVER spans.
    pub fn new(
        c: &Columns,
        names: &KnownNames,
        index: &Index<'_>,
        forest: &Forest,
        role: &[Role],
        preludes: &[(u32, u32)],
        start: &[i64],
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
            let below = Below { c, names, forest, root };
            requests.push(c, &keys, root as usize, below);
        }
        requests.root = roots;
        requests.nest(c.len(), forest);
        requests.prelude = vec![NONE; requests.root.len()];
        for &(above, root) in preludes {
            if let Some(at) = requests.of_row.get(root as usize).filter(|&&at| at != NONE) {
                requests.prelude[*at as usize] = above;
            }
        }
        requests.linked_from = (0..requests.len()).map(|at| requests.linked(c, index, at)).collect();
        let is_caller = |&row: &u32| role[row as usize] == Role::Caller;
        let caller = |&root: &u32| called_by(c, index, root as usize).find(is_caller).unwrap_or(NONE);
        requests.caller = requests.root.iter().map(caller).collect();
        requests
    }

    /// The first request, other than itself, that one of its links names a span of.
    fn linked(&self, c: &Columns, index: &Index<'_>, request: usize) -> u32 {
        let links = run(&c.spans.links_end, self.root[request] as usize);
        let rows = links.filter_map(|link| index.find(&c.links.trace_id[link], &c.links.span_id[link]));
        let from = rows.map(|row| self.of_row[row as usize]);
        from.into_iter().find(|&at| at != NONE && at != request as u32).unwrap_or(NONE)
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.root.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    fn push(&mut self, c: &Columns, keys: &Keys, row: usize, below: Below<'_>) {
        let text = |keys: [Option<u32>; 2]| keys.iter().find_map(|&key| c.span_attributes.string(row, key));
        let own = |key: Option<u32>| c.span_attributes.string(row, key).filter(|text| !text.is_empty());
        let name = || c.names.text(c.spans.name[row]);
        let method = text(keys.method).map_or_else(|| kube::method_of_name(name()), |method| c.text(method));
        let whole = own(keys.target);
        let handler = if whole.or(own(keys.query)).is_some() { None } else { below.handler() };
        let of_handler = |key| handler.and_then(|row| c.span_attributes.string(row as usize, key));
        let target = whole.or_else(|| own(keys.path)).or_else(|| of_handler(keys.handler.url));
        let target = target.unwrap_or_default();
        let asked = match own(keys.query) {
            Some(query) if whole.is_none() => Cow::Owned(format!("{}?{}", c.text(target), c.text(query))),
            _ => Cow::Borrowed(c.text(target)),
        };
        let template = if target.is_empty() { kube::template_info(name()) } else { None };
        let mut info = template.unwrap_or_else(|| kube::request_info(method, &asked));
        if let Some(handler) = handler {
            keys.handler.complete(c, handler as usize, &mut info);
        }
        if info.verb == "list" && !asked.contains('?') && below.is_watch() {
            info.verb = Cow::Borrowed("watch");
        }
        if info.connects() {
            info.verb = Cow::Borrowed("connect");
        }
        // Most words are absent; the empty one has the number 0.
        let words = &mut self.words;
        let mut word = |text: &str| if text.is_empty() { 0 } else { words.intern_str(text) };
        self.verb.push(word(&info.verb));
        self.api_group.push(word(&info.group));
        self.api_version.push(word(&info.version));
        self.resource.push(word(&info.resource));
        self.subresource.push(word(&info.subresource));
        self.namespace.push(word(&info.namespace));
        self.object_name.push(word(&info.name));
        self.http_method.push(word(method));
        let status = keys.status(c, row).unwrap_or(0);
        self.http_status.push(status);
        self.target.push(target);
        self.user_agent.push(text(keys.user_agent).unwrap_or_default());
        let stays_open = status == SWITCHING_PROTOCOLS
            || LONG_RUNNING_VERBS.contains(&&*info.verb)
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
