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

impl RequestInfo<'_> {
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
fn split_target(target: &str) -> (&str, &str) {
    let url = if target.starts_with('/') { None } else { target.split_once("://") };
    let local = match url {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let rest = rest.split('#').next().unwrap_or_default();
            rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default()
        }
        _ => target,
    };
    local.split_once('?').unwrap_or((local, ""))
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
    (!pair.bytes().any(|byte| byte == b';')).then_some((key, halves.next().unwrap_or_default()))
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
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Verb, prefix, group, version, namespace, resource, subresource and name, with `-` for what is empty.
    fn resource(row: &'static str) -> RequestInfo<'static> {
        let mut words = row.split(' ').map(|word| if word == "-" { "" } else { word }.into());
        let mut next = || words.next().unwrap_or_default();
        RequestInfo {
            verb: next(),
            api_prefix: next(),
            group: next(),
            version: next(),
            namespace: next(),
            resource: next(),
            subresource: next(),
            name: next(),
            resource_request: true,
        }
    }

    /// The cases of kube-apiserver's `TestGetAPIRequestInfo`, as data: method, target, then what `resource` reads.
    /// (That test does not compare prefix and group; here they are what its rules give.)
    const API_REQUESTS: [(&str, &str, &str); 32] = [
        ("GET", "/api/v1/namespaces", "list api - v1 - namespaces - -"),
        ("GET", "/api/v1/namespaces/other", "get api - v1 other namespaces - other"),
        ("GET", "/api/v1/namespaces/other/pods", "list api - v1 other pods - -"),
        ("GET", "/api/v1/namespaces/other/pods/foo", "get api - v1 other pods - foo"),
        ("HEAD", "/api/v1/namespaces/other/pods/foo", "get api - v1 other pods - foo"),
        ("GET", "/api/v1/pods", "list api - v1 - pods - -"),
        ("HEAD", "/api/v1/pods", "list api - v1 - pods - -"),
        ("GET", "/api/v1/proxy/namespaces/other/pods/foo", "proxy api - v1 other pods - foo"),
        (
            "GET",
            "/api/v1/proxy/namespaces/other/pods/foo/subpath/not/a/subresource",
            "proxy api - v1 other pods - foo",
        ),
        ("GET", "/api/v1/watch/pods", "watch api - v1 - pods - -"),
        ("GET", "/api/v1/pods?watch=true", "watch api - v1 - pods - -"),
        ("GET", "/api/v1/pods?watch=false", "list api - v1 - pods - -"),
        ("GET", "/api/v1/watch/namespaces/other/pods", "watch api - v1 other pods - -"),
        ("GET", "/api/v1/namespaces/other/pods?watch=1", "watch api - v1 other pods - -"),
        ("GET", "/api/v1/namespaces/other/pods?watch=0", "list api - v1 other pods - -"),
        ("GET", "/api/v1/namespaces/other/pods/foo/status", "get api - v1 other pods status foo"),
        ("GET", "/api/v1/namespaces/other/pods/foo/proxy/subpath", "get api - v1 other pods proxy foo"),
        ("PUT", "/api/v1/namespaces/other/finalize", "update api - v1 other namespaces finalize other"),
        ("PUT", "/api/v1/namespaces/other/status", "update api - v1 other namespaces status other"),
        ("PATCH", "/api/v1/namespaces/other/pods/foo", "patch api - v1 other pods - foo"),
        ("DELETE", "/api/v1/namespaces/other/pods/foo", "delete api - v1 other pods - foo"),
        ("POST", "/api/v1/namespaces/other/pods", "create api - v1 other pods - -"),
        ("DELETE", "/api/v1/nodes", "deletecollection api - v1 - nodes - -"),
        ("DELETE", "/api/v1/namespaces", "deletecollection api - v1 - namespaces - -"),
        ("DELETE", "/api/v1/namespaces/other/pods", "deletecollection api - v1 other pods - -"),
        (
            "DELETE",
            "/apis/extensions/v1/namespaces/other/pods",
            "deletecollection apis extensions v1 other pods - -",
        ),
        ("POST", "/apis/extensions/v1/namespaces/other/pods", "create apis extensions v1 other pods - -"),
        (
            "POST",
            "/apis/extensions/v1beta3/namespaces/other/pods",
            "create apis extensions v1beta3 other pods - -",
        ),
        // Ours, by the same rules.
        ("OPTIONS", "/api/v1/pods", "- api - v1 - pods - -"),
        ("GET", "/apis/apps/v1/deployments/", "list apis apps v1 - deployments - -"),
        ("GET", "/api/v1//pods", "get api - v1 - - - pods"),
        ("GET", "/apis/apps/v1/watch", "get apis apps v1 - - - -"),
    ];

    #[test]
    fn api_requests_read_as_kubernetes_reads_them() {
        for (method, target, expected) in API_REQUESTS {
            assert_eq!(request_info(method, target), resource(expected), "{method} {target}");
        }
    }

    /// The cases of `TestGetAPIRequestInfo`'s errors and of `TestGetNonAPIRequestInfo`.
    #[test]
    fn only_paths_of_resources_are_resource_requests() {
        let cases = [
            ("/api/version/resource", true),
            ("/apis/group/version/resource/name/subresource", true),
            ("/api/version/resource/name/subresource", true),
            ("/apis/batch/v1/job", true),
            ("/apis/batch/v1/job/foo", true),
            ("/apis/batch/v1/job/foo/scale", true),
            ("/not-api/version/resource", false),
            ("/badprefix/version/resource", false),
            ("/apis/version/resource", false),
            ("/apis/extensions/v1beta1", false),
            ("/apis/extensions/v1beta1/", false),
            ("/apis/group/version/", false),
            ("/api/version/", false),
            ("/api/version", false),
            ("/api", false),
            ("/", false),
            ("", false),
            ("*", false),
            ("/healthz?verbose", false),
        ];
        for (target, expected) in cases {
            assert_eq!(request_info("GET", target).resource_request, expected, "{target}");
        }
    }

    /// Off the resources the verb is the method; the prefix of `/apis/group/version` is kept, as there.
    #[test]
    fn other_requests_have_the_method_for_a_verb() {
        for (method, verb) in [("GET", "get"), ("POST", "post"), ("OPTIONS", "options"), ("_OTHER", "_other")]
        {
            let expected = RequestInfo { verb: verb.into(), ..RequestInfo::default() };
            assert_eq!(request_info(method, "/readyz/etcd"), expected);
        }
        let discovery = request_info("GET", "/apis/apps/v1");
        assert_eq!((discovery.api_prefix.as_ref(), discovery.group.as_ref()), ("apis", ""));
    }

    /// The cases of `TestSelectorParsing`, then of its parsers: target, verb, name.
    #[test]
    fn field_selectors_can_name_the_object() {
        let cases = [
            ("", "list", ""),
            ("?fieldSelector=metadata.name=name1", "list", "name1"),
            ("?watch=true&fieldSelector=metadata.name=name1", "watch", "name1"),
            ("?fieldSelector=foo=bar&labelSelector=baz=qux", "list", ""),
            ("?fieldSelector=metadata.name=name1,foo", "list", ""),
            ("?fieldSelector=metadata.name=name1,foo&watch=true", "watch", ""),
            ("?fieldSelector=metadata.name=name1,foo&watch=false", "list", ""),
            ("?fieldSelector=metadata.name=foo&fieldSelector=metadata.name=bar", "list", "foo"),
            ("/name?fieldSelector=metadata.name=foo", "get", "name"),
            // As clients really write it.
            (
                "?fieldSelector=metadata.name%3Dkube-root-ca.crt&resourceVersion=7&watch=true",
                "watch",
                "kube-root-ca.crt",
            ),
            ("?fieldSelector=spec.nodeName%3Dn1%2Cmetadata.name%3D%3Dweb-0&limit=500", "list", "web-0"),
            // A number that does not parse voids the name but not the watch.
            ("?fieldSelector=metadata.name=foo&limit=many&watch=1", "watch", ""),
            ("?fieldSelector=metadata.name=foo&timeoutSeconds=", "list", ""),
            ("?fieldSelector=metadata.name=foo&limit=-1", "list", "foo"),
            // Not equal is no name; of two names the smaller term counts; escapes; names no path can hold.
            ("?fieldSelector=metadata.name!=foo", "list", ""),
            ("?fieldSelector=metadata.name=b,metadata.name=a", "list", "a"),
            ("?fieldSelector=metadata.name=a%5C,b", "list", "a,b"),
            ("?fieldSelector=metadata.name=a%5Cb", "list", ""),
            ("?fieldSelector=metadata.name=a=b", "list", ""),
            ("?fieldSelector=metadata.name=..", "list", ""),
            ("?fieldSelector=metadata.name=a%2Fb", "list", ""),
            // Go's queries: nothing counts as true, a bad escape or a semicolon loses the pair.
            ("?watch", "watch", ""),
            ("?watch=", "watch", ""),
            ("?watch=FALSE", "list", ""),
            ("?watch=0&watch=1", "list", ""),
            ("?watch=%zz", "list", ""),
            ("?watch=1;a", "list", ""),
            ("?%77atch=t", "watch", ""),
        ];
        for (rest, verb, name) in cases {
            let target = format!("/apis/group/version/resource{rest}");
            let info = request_info("GET", &target);
            assert_eq!((info.verb.as_ref(), info.name.as_ref()), (verb, name), "{target}");
        }
    }

    /// A selector on another verb, or on the old watch paths, is not read.
    #[test]
    fn selectors_count_only_where_the_verb_was_open() {
        let delete = request_info("DELETE", "/apis/g/v/resource?fieldSelector=metadata.name=foo");
        assert_eq!((delete.verb.as_ref(), delete.name.as_ref()), ("deletecollection", ""));
        let watch = request_info("GET", "/apis/g/v/watch/resource?fieldSelector=metadata.name=foo");
        assert_eq!((watch.verb.as_ref(), watch.name.as_ref()), ("watch", ""));
        let item = request_info("GET", "/apis/g/v/watch/resource/name?fieldSelector=metadata.name=foo");
        assert_eq!((item.verb.as_ref(), item.name.as_ref()), ("watch", "name"));
    }

    /// The path is decoded before it is split, so an escaped slash splits; a plus sign stays.
    #[test]
    fn escapes_in_the_path_are_decoded_first() {
        let info = request_info("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode");
        assert_eq!((info.resource.as_ref(), info.name.as_ref()), ("clusterroles", "system:node"));
        let info = request_info("GET", "/api/v1/pods/a%2Flog");
        assert_eq!((info.name.as_ref(), info.subresource.as_ref()), ("a", "log"));
        assert_eq!(request_info("GET", "/api/v1/pods/a+b").name, "a+b");
        assert_eq!(request_info("GET", "/api/v1/pods/100%").name, "100%");
        assert_eq!(request_info("GET", "/api/v1/pods/%ff").name, "\u{fffd}");
    }

    #[test]
    fn absolute_urls_read_like_their_path() {
        let path = "/api/v1/namespaces/dev/pods?watch=1";
        for host in ["https://10.0.0.1:6443", "http://[::1]"] {
            assert_eq!(request_info("GET", &format!("{host}{path}#top")), request_info("GET", path));
        }
        assert!(!request_info("GET", "https://host").resource_request);
        assert!(!request_info("GET", "https://host?watch=1").resource_request);
        let proxied = request_info("GET", "/api/v1/nodes/http://n1/proxy");
        assert_eq!((proxied.resource.as_ref(), proxied.name.as_ref()), ("nodes", "http:"));
    }

    /// Nothing is copied unless something was escaped.
    #[test]
    fn plain_targets_are_not_copied() {
        let info = request_info("PUT", "/apis/apps/v1/namespaces/dev/deployments/web/scale");
        let parts = [&info.verb, &info.group, &info.namespace, &info.resource, &info.subresource, &info.name];
        assert!(parts.iter().all(|part| matches!(part, Cow::Borrowed(_))));
    }

    /// The grammar of `getSpanNameFromRequestInfo`: placeholders decide the verb and then are gone.
    #[test]
    fn span_names_are_templates() {
        let cases = [
            ("POST /api/v1/nodes", "create api - v1 - nodes - -"),
            ("GET /api/v1/nodes", "list api - v1 - nodes - -"),
            ("GET /api/v1/nodes/{:name}", "get api - v1 - nodes - -"),
            ("DELETE /api/v1/namespaces/{:namespace}/pods", "deletecollection api - v1 - pods - -"),
            ("DELETE /api/v1/namespaces/{:namespace}/pods/{:name}", "delete api - v1 - pods - -"),
            (
                "GET /apis/apps/v1/namespaces/{:namespace}/deployments/{:name}/status",
                "get apis apps v1 - deployments status -",
            ),
            // Of one namespace, the span's name gives the namespace twice.
            ("GET /api/v1/namespaces/{:namespace}/namespaces/{:name}", "get api - v1 - namespaces - -"),
            (
                "PUT /api/v1/namespaces/{:namespace}/namespaces/{:name}/finalize",
                "update api - v1 - namespaces finalize -",
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(template_info(name), Some(resource(expected)), "{name}");
        }
    }

    #[test]
    fn other_span_names_are_not_templates() {
        let method = RequestInfo { verb: "get".into(), ..RequestInfo::default() };
        assert_eq!(template_info("GET"), Some(method), "1.31+ names what is no resource by its method");
        for name in
            ["KubernetesAPI", "HTTP GET", "GET healthz", "List /api/v1/pods", "", " ", "get /api/v1/pods"]
        {
            assert_eq!(template_info(name), None, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        /// Any text is survivable, and what comes out of a plain target is part of it.
        #[test]
        fn any_target_is_survivable(method in "\\PC{0,6}", target in "(/api(s/g)?/v1)?[/a%2F?&=,;+!.\\\\é]{0,30}", any in "\\PC*") {
            let info = request_info(&method, &target);
            prop_assert!(target.contains('%') || target.contains('+') || target.contains(info.resource.as_ref()));
            request_info(&method, &any);
            template_info(&any);
        }

        /// Selectors of any letters do not panic and never name what no path can hold.
        #[test]
        fn any_selector_is_survivable(selector in "(metadata.name)?[=!a,./\\\\%é]{0,12}") {
            let target = format!("/api/v1/pods?fieldSelector={selector}");
            prop_assert!(!request_info("GET", &target).name.contains('/'));
        }
    }
}
