//! What a Kubernetes API request asks for: verb, resource and name, read from its method and URL.
//!
//! The rules are those by which kube-apiserver itself reads a request (`RequestInfoFactory.NewRequestInfo`,
//! `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`), so the answers agree with its metrics and audit
//! log.
//!
//! ```text
//! /api            /v1      [/namespaces/dev] /pods        /web-0  /status
//! /apis /apps     /v1      [/namespaces/dev] /deployments /web    /scale
//! /api            /v1/watch[/namespaces/dev] /pods                         old form of ?watch=true
//! prefix group    version   namespace         resource     name    subresource
//! ```

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// A request as kube-apiserver understands it. What is absent is the empty string.
///
/// Parts are slices of the URL, and copies only where it was percent-encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection` or `proxy`;
    /// empty for another method on a resource. Off the resources it is the HTTP method in lower case.
    pub verb: Cow<'a, str>,
    /// `api` or `apis`.
    pub api_prefix: Cow<'a, str>,
    /// Empty in the core group.
    pub group: Cow<'a, str>,
    /// As in `v1beta1`.
    pub version: Cow<'a, str>,
    /// Empty for all namespaces, and for what has none.
    pub namespace: Cow<'a, str>,
    /// Plural and in lower case, as in `pods`.
    pub resource: Cow<'a, str>,
    /// As in `status`.
    pub subresource: Cow<'a, str>,
    /// From the path, or from a field selector that asks for one `metadata.name`.
    pub name: Cow<'a, str>,
    /// Whether the URL is that of a resource; `/healthz`, `/apis/apps/v1` and the like are not.
    pub resource_request: bool,
}

/// Subresources that open a connection to what the object stands for: kube-apiserver registers and counts them as
/// CONNECT, whatever the method.
const CONNECTIONS: [(&str, &str); 6] = [
    ("pods", "attach"),
    ("pods", "exec"),
    ("pods", "portforward"),
    ("pods", "proxy"),
    ("services", "proxy"),
    ("nodes", "proxy"),
];

impl RequestInfo<'_> {
    /// The request connects to a container, a pod, a service or a node. Its `verb` is that of the method, as the
    /// audit log has it; the metrics say `CONNECT`.
    pub fn connects(&self) -> bool {
        self.group.is_empty() && CONNECTIONS.contains(&(&*self.resource, &*self.subresource))
    }

    fn into_owned(self) -> RequestInfo<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        RequestInfo {
            verb: own(self.verb),
            api_prefix: own(self.api_prefix),
            group: own(self.group),
            version: own(self.version),
            namespace: own(self.namespace),
            resource: own(self.resource),
            subresource: own(self.subresource),
            name: own(self.name),
            resource_request: self.resource_request,
        }
    }
}

/// Reads a request from its HTTP method and its target: path and query, or an absolute URL.
///
/// Never fails: a path that kube-apiserver would refuse (`/api/v1/watch`) gives what is known of it,
/// an escape that is none stands for itself. One thing is not checked: an invalid label selector voids the
/// name in a field selector there, not here (the server answers both with status 400).
pub fn request_info<'a>(method: &str, target: &'a str) -> RequestInfo<'a> {
    let (path, query) = split_target(target);
    match unescape(path, Space::Percent).unwrap_or(Cow::Borrowed(path)) {
        Cow::Borrowed(path) => resolve(method, path, query),
        Cow::Owned(path) => resolve(method, &path, query).into_owned(),
    }
}

/// Reads a request from the name that kube-apiserver 1.31 and later gives its span, for want of a target.
///
/// Such a name is `GET /apis/apps/v1/namespaces/{:namespace}/deployments/{:name}/status`, or the method
/// alone off the resources; for any other name the answer is `None`. Placeholders count as present and
/// are returned empty.
/// The name knows no query: a `watch` reads as `list`, and either as `get` if a field selector named one
/// object.
pub fn template_info(span_name: &str) -> Option<RequestInfo<'_>> {
    let (method, path) = span_name.split_once(' ').unwrap_or((span_name, "/"));
    if !is_method(method) || !path.starts_with('/') {
        return None;
    }
    let mut info = resolve(method, path, "");
    for (part, placeholder) in [(&mut info.namespace, "{:namespace}"), (&mut info.name, "{:name}")] {
        if part == placeholder {
            *part = Cow::Borrowed("");
        }
    }
    Some(info)
}

/// The HTTP method in a span's name: `GET /api/v1/pods`, `GET`, `HTTP GET`. Empty if there is none.
pub fn method_of_name(span_name: &str) -> &str {
    let name = span_name.strip_prefix("HTTP ").unwrap_or(span_name);
    let word = name.split(' ').next().unwrap_or_default();
    if is_method(word) { word } else { "" }
}

/// Prefix, group, version, special verb, `namespaces`, namespace, resource, name, subresource.
const PARTS: usize = 9;

fn resolve<'a>(method: &str, path: &'a str, query: &'a str) -> RequestInfo<'a> {
    let mut parts = [""; PARTS];
    let count =
        parts.iter_mut().zip(pieces(path.trim_matches('/'), b'/')).map(|(slot, part)| *slot = part).count();
    let mut info = RequestInfo { verb: lower(method), ..RequestInfo::default() };
    let (prefix, group, version, rest) = match parts.get(..count).unwrap_or_default() {
        [prefix @ "api", version, rest @ ..] if !rest.is_empty() => (*prefix, "", *version, rest),
        [prefix @ "apis", group, version, rest @ ..] if !rest.is_empty() => (*prefix, *group, *version, rest),
        [prefix @ "apis", _, _] => {
            info.api_prefix = Cow::Borrowed(prefix);
            return info;
        }
        _ => return info,
    };
    info.resource_request = true;
    info.api_prefix = Cow::Borrowed(prefix);
    info.group = Cow::Borrowed(group);
    info.version = Cow::Borrowed(version);
    locate(&mut info, method, rest, query);
    info
}

/// Reads what follows the version.
fn locate<'a>(info: &mut RequestInfo<'a>, method: &str, rest: &[&'a str], query: &'a str) {
    let (verb, rest) = match rest {
        ["proxy" | "watch"] => return, // an error there
        ["proxy", rest @ ..] => ("proxy", rest),
        ["watch", rest @ ..] => ("watch", rest),
        _ => (verb_of(method), rest),
    };
    let (namespace, rest) = match rest {
        // Without this line `namespaces/dev/status` would be a resource called status.
        ["namespaces", namespace, "status" | "finalize", ..] => (*namespace, rest),
        ["namespaces", namespace, below @ ..] if !below.is_empty() => (*namespace, below),
        ["namespaces", namespace] => (*namespace, rest),
        _ => ("", rest),
    };
    let part = |at: usize| rest.get(at).copied().unwrap_or_default();
    info.namespace = Cow::Borrowed(namespace);
    info.resource = Cow::Borrowed(part(0));
    info.name = Cow::Borrowed(part(1));
    info.subresource = Cow::Borrowed(if verb == "proxy" { "" } else { part(2) });
    info.verb = Cow::Borrowed(verb);
    if info.name.is_empty() {
        without_name(info, query);
    }
}

/// Of no single object: a get is a list or a watch, a delete is a deletecollection.
fn without_name<'a>(info: &mut RequestInfo<'a>, query: &'a str) {
    match info.verb.as_ref() {
        "get" => {
            let options = ListOptions::read(query);
            info.verb = Cow::Borrowed(if options.watch { "watch" } else { "list" });
            info.name = options.name;
        }
        "delete" => info.verb = Cow::Borrowed("deletecollection"),
        _ => {}
    }
}

fn verb_of(method: &str) -> &'static str {
    match method {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// The methods of HTTP, with the verbs they stand for off the resources.
const METHODS: [(&str, &str); 9] = [
    ("GET", "get"),
    ("POST", "post"),
    ("PUT", "put"),
    ("PATCH", "patch"),
    ("DELETE", "delete"),
    ("HEAD", "head"),
    ("OPTIONS", "options"),
    ("CONNECT", "connect"),
    ("TRACE", "trace"),
];

fn lower(method: &str) -> Cow<'static, str> {
    let known = METHODS.iter().find(|(name, _)| *name == method);
    known.map_or_else(|| Cow::Owned(method.to_lowercase()), |(_, verb)| Cow::Borrowed(*verb))
}

fn is_method(word: &str) -> bool {
    METHODS.iter().any(|(name, _)| *name == word)
}

/// Path and query of a target. Only an absolute URL may carry a fragment, and it is dropped.
pub fn split_target(target: &str) -> (&str, &str) {
    let url = if target.starts_with('/') { None } else { target.split_once("://") };
    let local = match url {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let rest = rest.split('#').next().unwrap_or_default();
            rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default()
        }
        _ => target,
    };
    memchr(b'?', local.as_bytes())
        .and_then(|at| Some((local.get(..at)?, local.get(at + 1..)?)))
        .unwrap_or((local, ""))
}

/// What the verb and the name depend on, of the query of a list (`metainternalversion.ListOptions`).
#[derive(Debug, Default)]
struct ListOptions<'a> {
    watch: bool,
    name: Cow<'a, str>,
}

impl<'a> ListOptions<'a> {
    /// Of a repeated parameter the first counts. One that does not parse voids the name, never the watch.
    fn read(query: &'a str) -> Self {
        let (mut watch, mut selector, mut limit, mut timeout) = (None, None, None, None);
        for (key, value) in pieces(query, b'&').filter_map(parameter) {
            let first = match key.as_ref() {
                "watch" => &mut watch,
                "fieldSelector" => &mut selector,
                "limit" => &mut limit,
                "timeoutSeconds" => &mut timeout,
                _ => continue,
            };
            *first = first.take().or_else(|| unescape(value, Space::PercentOrPlus));
        }
        let watch = watch.is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"));
        let valid = [limit, timeout].iter().flatten().all(|number| number.parse::<i64>().is_ok());
        let name = selector.filter(|_| valid).and_then(exact_name).filter(|name| is_path_segment(name));
        Self { watch, name: name.unwrap_or_default() }
    }
}

/// Key and raw value of a parameter; `None` for what Go's `url.ParseQuery` leaves out.
fn parameter(pair: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut halves = pair.splitn(2, '=');
    let key = unescape(halves.next()?, Space::PercentOrPlus)?;
    memchr(b';', pair.as_bytes()).is_none().then_some((key, halves.next().unwrap_or_default()))
}

/// Splits at an ASCII byte. On pieces this short, simpler and faster than the search of `str::split`.
fn pieces(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut left = Some(text);
    std::iter::from_fn(move || {
        let rest = left?;
        let end = rest.bytes().position(|byte| byte == separator);
        left = end.and_then(|end| rest.get(end + 1..));
        rest.get(..end.unwrap_or(rest.len()))
    })
}

fn exact_name(selector: Cow<'_, str>) -> Option<Cow<'_, str>> {
    match selector {
        Cow::Borrowed(selector) => required_name(selector),
        Cow::Owned(selector) => required_name(&selector).map(|name| Cow::Owned(name.into_owned())),
    }
}

/// The `metadata.name` that a field selector requires; `None` if it requires none or does not parse.
/// Terms are sorted before they are read there, so of several names the smallest term's counts.
fn required_name(selector: &str) -> Option<Cow<'_, str>> {
    let mut required: Option<(&str, Cow<'_, str>)> = None;
    for term in terms(selector).filter(|term| !term.is_empty()) {
        let (field, operator, value) = split_term(term)?;
        let value = unescape_value(value)?;
        let smaller = required.as_ref().is_none_or(|(other, _)| term < *other);
        if field == "metadata.name" && operator != "!=" && smaller {
            required = Some((term, value));
        }
    }
    required.map(|(_, name)| name)
}

/// The terms of a field selector: split at the commas that no backslash precedes.
fn terms(selector: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    selector.split(move |letter| {
        let splits = letter == ',' && !escaped;
        escaped = letter == '\\' && !escaped;
        splits
    })
}

/// Field, operator and value, at the first operator.
fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    let at =
        term.match_indices('=').map(|(at, _)| at).chain(term.match_indices("!=").map(|(at, _)| at)).min()?;
    let (field, rest) = term.split_at_checked(at)?;
    let operator = ["!=", "==", "="].into_iter().find(|operator| rest.starts_with(operator))?;
    Some((field, operator, rest.strip_prefix(operator)?))
}

/// A value without its backslashes; `None` if one of `\ , =` lacks it, or something else has it.
fn unescape_value(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains(['\\', ',', '=']) {
        return Some(Cow::Borrowed(value));
    }
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.push(letters.next().filter(|next| matches!(next, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            _ => plain.push(letter),
        }
    }
    Some(Cow::Owned(plain))
}

fn is_path_segment(name: &str) -> bool {
    name != "." && name != ".." && !name.contains(['/', '%'])
}

/// How a space is written: in a query also as a plus sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    Percent,
    PercentOrPlus,
}

/// Percent-decodes; `None` if an escape is not two hexadecimal digits. Bytes that are no UTF-8 become U+FFFD.
fn unescape(text: &str, space: Space) -> Option<Cow<'_, str>> {
    let plus = space == Space::PercentOrPlus;
    if memchr2(b'%', if plus { b'+' } else { b'%' }, text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus => b' ',
            _ => byte,
        });
    }
    Some(Cow::Owned(String::from_utf8_lossy(&plain).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests;
