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
    for (method, verb) in [("GET", "get"), ("POST", "post"), ("OPTIONS", "options"), ("_OTHER", "_other")] {
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
    for name in ["KubernetesAPI", "HTTP GET", "GET healthz", "List /api/v1/pods", "", " ", "get /api/v1/pods"]
    {
        assert_eq!(template_info(name), None, "{name}");
    }
}

#[test]
fn the_method_is_found_in_every_versions_span_name() {
    let cases = [
        ("GET /api/v1/pods", "GET"),
        ("DELETE", "DELETE"),
        ("HTTP GET", "GET"),
        ("KubernetesAPI", ""),
        ("HTTP", ""),
        ("", ""),
    ];
    for (name, method) in cases {
        assert_eq!(method_of_name(name), method, "{name}");
    }
}

#[test]
fn connections_are_told_whatever_the_method() {
    for (method, target, expected) in [
        ("POST", "/api/v1/namespaces/a/pods/b/exec?command=ls", true),
        ("GET", "/api/v1/namespaces/a/pods/b/attach", true),
        ("GET", "/api/v1/namespaces/a/pods/b/portforward", true),
        ("PUT", "/api/v1/namespaces/a/services/b/proxy/x", true),
        ("GET", "/api/v1/nodes/n/proxy/metrics", true),
        ("GET", "/api/v1/namespaces/a/pods/b/log", false),
        ("POST", "/api/v1/namespaces/a/pods/b/eviction", false),
        ("POST", "/apis/x/v1/namespaces/a/pods/b/exec", false),
    ] {
        assert_eq!(request_info(method, target).connects(), expected, "{method} {target}");
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
