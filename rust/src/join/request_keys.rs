//! The attributes that tell what a request is, under the names of every version.

use std::borrow::Cow;

use crate::columns::Columns;
use crate::join::request_info::{self, RequestInfo};

/// Attribute keys, the newer name first. A key that was not sent has no number.
pub struct Keys {
    pub(super) method: [Option<u32>; 2],
    pub(super) target: Option<u32>,
    pub(super) path: Option<u32>,
    pub(super) query: Option<u32>,
    pub(super) status: [Option<u32>; 2],
    pub(super) user_agent: [Option<u32>; 2],
    pub(super) handler: Handler,
}

/// Attributes of the handler's span.
pub struct Handler {
    pub(super) url: Option<u32>,
    pub(super) verb: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) version: Option<u32>,
    pub(super) resource: Option<u32>,
    pub(super) subresource: Option<u32>,
    pub(super) namespace: Option<u32>,
    pub(super) name: Option<u32>,
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
        let method = method.unwrap_or_else(|| request_info::method_of_name(c.names.text(c.spans.name[row])));
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
    pub fn complete<'a>(&self, c: &'a Columns, row: usize, info: &mut RequestInfo<'a>) {
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
