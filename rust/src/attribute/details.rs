//! What rules need from the attributes of a span: the target of an HTTP call, and whether a response was encoded before
//! it was written.

use memchr::memchr;
use memchr::memmem::Finder;

use crate::columns::{NONE, run};
use crate::join::Joined;
use crate::join::request_info::{method_of_name, split_target};
use crate::join::span_kind::{CLIENT, INTERNAL};
use crate::numbers::u32_of;

/// What a rule needs from attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Nothing that a rule asks for.
    None,
    /// An HTTP call to an admission webhook.
    Webhook,
    /// The request itself, sent on to another API server.
    Aggregator,
    /// Another request of the Kubernetes API.
    Api,
    /// An HTTP call that could be either.
    WebhookOrAggregator,
    /// A response that was encoded or compressed while it was written.
    Interleaved,
    /// A sync that failed because volumes were not there.
    Volumes,
    /// An HTTP call of a container runtime that asks what an image is.
    Resolve,
    /// The handler, or the filter around it, of a request that a kubelet answers.
    Kubelet,
    /// The same of a request that a pod or a service answers.
    Upstream,
}

impl Detail {
    /// Its name; none for [`Detail::None`].
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Webhook => Some("webhook"),
            Self::Aggregator => Some("aggregator"),
            Self::Api => Some("api"),
            Self::WebhookOrAggregator => Some("webhook_or_aggregator"),
            Self::Interleaved => Some("interleaved"),
            Self::Volumes => Some("volumes"),
            Self::Resolve => Some("resolve"),
            Self::Kubelet => Some("kubelet"),
            Self::Upstream => Some("upstream"),
        }
    }
}

/// Delegated authentication and authorization: POST with a timeout, as webhooks are, but of the API.
const REVIEWS: [&str; 2] = ["/apis/authentication.k8s.io/", "/apis/authorization.k8s.io/"];

/// What INTERNAL spans are asked about, by their names.
#[derive(Debug, Clone, Copy)]
enum Inner {
    Other,
    Serialize,
    Sync,
    Handler,
}

impl Inner {
    fn of(name: &str) -> Self {
        match name {
            "SerializeObject" => Self::Serialize,
            "syncPod" => Self::Sync,
            "authorization" | "Get" => Self::Handler,
            _ => Self::Other,
        }
    }
}

/// Names and keys, looked up once.
pub struct Details<'a> {
    joined: &'a Joined,
    /// Name number → what is asked about INTERNAL spans of this name.
    inner: Vec<Inner>,
    writing: Option<u32>,
    written: [Option<u32>; 2],
    webhook_calls: [Option<u32>; 2],
    url: [Option<u32>; 2],
    method: [Option<u32>; 2],
    writer: Option<u32>,
    gzip: Finder<'static>,
    size: Option<u32>,
    message: Option<u32>,
    registry: Option<u32>,
    /// Words of requests: connect, proxy, nodes, log, pods.
    words: [Option<u32>; 5],
}

impl<'a> Details<'a> {
    /// Looks them up.
    pub fn new(joined: &'a Joined) -> Self {
        let c = &joined.columns;
        let name = |text: &str| c.names.find(text.as_bytes());
        let key = |text: &str| c.keys.find(text.as_bytes());
        Self {
            joined,
            inner: c.names.iter().map(Inner::of).collect(),
            writing: name("About to start writing response"),
            written: ["Write call succeeded", "Write call failed"].map(name),
            webhook_calls: ["Call mutating webhook", "Call validating webhook"].map(name),
            url: ["url.full", "http.url"].map(key),
            method: ["http.request.method", "http.method"].map(key),
            writer: key("writer"),
            gzip: Finder::new("gzip"),
            size: key("size"),
            message: key("exception.message"),
            words: ["connect", "proxy", "nodes", "log", "pods"]
                .map(|word| joined.requests.words.find(word.as_bytes())),
            registry: name("remotes.docker.resolver.HTTPRequest"),
        }
    }

    /// The detail of a span.
    #[inline]
    pub fn of(&self, row: usize) -> Detail {
        let c = &self.joined.columns;
        match c.spans.kind[row] {
            INTERNAL => match self.inner[c.spans.name[row] as usize] {
                Inner::Other => Detail::None,
                Inner::Serialize => self.response(row),
                Inner::Sync => self.failure(row),
                Inner::Handler => self.answered_beyond(row),
            },
            CLIENT if Some(c.spans.name[row]) == self.registry => self.image(row),
            CLIENT if self.joined.names.is_http_call(c, row) => self.call(row),
            _ => Detail::None,
        }
    }

    /// Written in one piece, as it is, or not: then encoding or compressing went on while it was written.
    fn response(&self, row: usize) -> Detail {
        let c = &self.joined.columns;
        let (mut first, mut writes, mut interleaved) = (None, 0, false);
        for event in run(&c.spans.events_end, row) {
            let name = Some(c.events.name[event]);
            let size = || c.event_attributes.int(event, self.size);
            if name == self.writing {
                let writer = c.event_attributes.string(event, self.writer).map(|text| text.of(&c.arena));
                // Hardly any has the letter.
                interleaved |= writer
                    .is_some_and(|writer| memchr(b'z', writer).is_some() && self.gzip.find(writer).is_some());
                first = size();
            } else if self.written.contains(&name) {
                writes += 1;
                interleaved |= writes > 1 || matches!((first, size()), (Some(a), Some(b)) if a != b);
            }
        }
        if interleaved { Detail::Interleaved } else { Detail::None }
    }

    /// Who answers the request that a span is in, if it is not the API server.
    fn answered_beyond(&self, row: usize) -> Detail {
        let (requests, [connect, proxy, nodes, log, pods]) = (&self.joined.requests, self.words);
        let Some(at) = Some(requests.of_row[row]).filter(|&at| at != NONE) else { return Detail::None };
        let at = at as usize;
        let resource = Some(requests.resource[at]);
        match Some(requests.subresource[at]) {
            part if part == log && resource == pods => Detail::Kubelet,
            _ if Some(requests.verb[at]) != connect => Detail::None,
            part if part == proxy && resource != nodes => Detail::Upstream,
            _ => Detail::Kubelet,
        }
    }

    /// Why a sync failed, in the kubelet's words.
    fn failure(&self, row: usize) -> Detail {
        let c = &self.joined.columns;
        let of_volumes = |event: usize| {
            let text = c.event_attributes.string(event, self.message).map(|text| c.text(text));
            text.is_some_and(|text| text.contains("volumes=["))
        };
        if run(&c.spans.events_end, row).any(of_volumes) { Detail::Volumes } else { Detail::None }
    }

    /// An image is asked for by HEAD, or by name or with a token's request; what it is made of is fetched by digest.
    fn image(&self, row: usize) -> Detail {
        let c = &self.joined.columns;
        let text = |keys: [Option<u32>; 2]| keys.iter().find_map(|&key| c.span_text(row, key));
        let by_digest = text(self.url).is_some_and(|url| url.contains("/blobs/") || url.contains("sha256"));
        let fetches = by_digest && text(self.method) != Some("HEAD");
        if fetches { Detail::None } else { Detail::Resolve }
    }

    /// Whom a call is for. `Call … webhook` around it says so itself, from 1.26 on. Otherwise: a request sent on keeps
    /// its path; a webhook is asked with POST and a timeout; other paths of the API are other requests.
    fn call(&self, row: usize) -> Detail {
        let (c, above) = (&self.joined.columns, self.joined.parent[row]);
        if above != NONE && self.webhook_calls.contains(&Some(c.spans.name[above as usize])) {
            return Detail::None;
        }
        let text = |keys: [Option<u32>; 2]| keys.iter().find_map(|&key| c.span_text(row, key));
        let method = text(self.method).unwrap_or_else(|| method_of_name(c.names.text(c.spans.name[row])));
        let posts = method == "POST";
        let own = self.path_of_request(self.joined.requests.of_row[row]);
        if own.is_some() && own == self.answered(row) {
            return Detail::Aggregator;
        }
        let Some((path, query)) = text(self.url).map(split_target) else {
            return if posts { Detail::WebhookOrAggregator } else { Detail::Aggregator };
        };
        let of_api = path.starts_with("/api/") || path.starts_with("/apis/");
        let review = REVIEWS.iter().any(|start| path.starts_with(start));
        let timeout = query.split('&').any(|pair| pair.starts_with("timeout="));
        match own {
            Some(own) if own == path => Detail::Aggregator,
            _ if posts && !review && (timeout && own.is_some() || !of_api) => Detail::Webhook,
            Some(_) if of_api => Detail::Api,
            _ if posts => Detail::WebhookOrAggregator,
            _ => Detail::Aggregator,
        }
    }

    /// The path of the request that answered a call, if it is here.
    fn answered(&self, row: usize) -> Option<&str> {
        let (forest, requests) = (&self.joined.forest, &self.joined.requests);
        let below = forest.subtree(u32_of(row)).get(1)?;
        let at = requests.of_row[*below as usize];
        if at == NONE || requests.root[at as usize] != *below {
            return None;
        }
        self.path_of_request(at)
    }

    fn path_of_request(&self, request: u32) -> Option<&str> {
        let target = *self.joined.requests.target.get(request as usize)?;
        let path = split_target(self.joined.columns.text(target)).0;
        (!path.is_empty()).then_some(path)
    }
}
