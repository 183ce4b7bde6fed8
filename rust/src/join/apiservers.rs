//! Which services are API servers. `service.name` is `apiserver` as kube-apiserver sends it, but people rename it to
//! tell clusters apart, and platforms give it their own.
//!
//! So a service is one by what it sends: scopes that only Kubernetes' server library has, or HTTP server spans that are
//! named as that library names them.

use std::collections::{BTreeMap, BTreeSet};

use crate::columns::Columns;
use crate::join::span_kind::SERVER;

/// What kube-apiserver calls itself.
pub const OWN_NAME: &str = "apiserver";

/// So many services are remembered; beyond, none is recognised by what it sends.
const SERVICES: usize = 4096;

/// Bits of what a service was seen to send.
const INNER_SCOPE: u8 = 1;
const HTTP_SERVER: u8 = 2;
const KUBERNETES: u8 = 4;

/// Scopes of Kubernetes' server library. The typo of the second is its own.
const INNER_SCOPES: [&[u8]; 2] =
    [b"k8s.io/component-base/tracing", b"k8s.op/apiserver/pkg/endpoints/filterlatency"];

/// The names of services that are API servers.
#[derive(Debug, Clone, Default)]
pub struct Apiservers {
    known: BTreeSet<String>,
    /// They were told, and none is looked for.
    told: bool,
    seen: BTreeMap<String, u8>,
}

impl Apiservers {
    /// These and no others; without any, they are recognised.
    pub fn named(names: impl IntoIterator<Item = String>) -> Self {
        let known: BTreeSet<String> = names.into_iter().collect();
        Self { told: !known.is_empty(), known, seen: BTreeMap::new() }
    }

    /// Whether a service is one.
    pub fn contains(&self, service: &str) -> bool {
        self.known.contains(service) || !self.told && service == OWN_NAME
    }

    /// Learns from spans. True if a service is known now that was not.
    pub fn learn(&mut self, c: &Columns) -> bool {
        if self.told {
            return false;
        }
        let found = evidence(c, self);
        let before = self.known.len();
        for (service, bits) in found {
            if self.seen.len() >= SERVICES && !self.seen.contains_key(service) {
                continue;
            }
            self.see(service, bits);
        }
        before < self.known.len()
    }

    fn see(&mut self, service: &str, bits: u8) {
        let seen = self.seen.entry(service.to_owned()).or_default();
        *seen |= bits;
        if *seen & KUBERNETES != 0 || *seen & (INNER_SCOPE | HTTP_SERVER) == INNER_SCOPE | HTTP_SERVER {
            self.known.insert(service.to_owned());
        }
    }

    /// What services were seen to send, as bits.
    pub fn seen(&self) -> &BTreeMap<String, u8> {
        &self.seen
    }

    /// Takes what others saw.
    pub fn hear(&mut self, seen: &BTreeMap<String, u8>) {
        if !self.told {
            for (service, &bits) in seen {
                self.see(service, bits);
            }
        }
    }
}

/// What services that are not known yet send.
fn evidence<'a>(c: &'a Columns, known: &Apiservers) -> BTreeMap<&'a str, u8> {
    let services: Vec<Option<&str>> = (0..c.resources.batch.len())
        .map(|row| c.resource_text(row, "service.name").filter(|service| !known.contains(service)))
        .collect();
    let mut found = BTreeMap::new();
    let mut http: Vec<Option<&str>> = Vec::new();
    for (&name, &resource) in c.scopes.name.iter().zip(&c.scopes.resource_spans) {
        let (scope, service) = (c.names.bytes(name), services[resource as usize]);
        if let Some(service) = service.filter(|_| INNER_SCOPES.contains(&scope)) {
            *found.entry(service).or_default() |= INNER_SCOPE;
        }
        http.push(service.filter(|_| scope.ends_with(b"net/http/otelhttp")));
    }
    if http.iter().all(Option::is_none) {
        return found;
    }
    let audit_id = c.keys.find(b"audit-id");
    for (row, &scope) in c.spans.scope_spans.iter().enumerate() {
        let Some(service) = http[scope as usize].filter(|_| c.spans.kind[row] == SERVER) else { continue };
        let bits = found.entry(service).or_default();
        *bits |= HTTP_SERVER;
        if *bits & KUBERNETES == 0
            && (is_kubernetes_name(c, row) || c.span_attributes.string(row, audit_id).is_some())
        {
            *bits |= KUBERNETES;
        }
    }
    found
}

/// `KubernetesAPI`, or a template such as `GET /api/v1/namespaces/{:namespace}/pods`.
fn is_kubernetes_name(c: &Columns, row: usize) -> bool {
    let name = c.names.text(c.spans.name[row]);
    name == "KubernetesAPI" || name.contains("/{:") || name.contains(" /apis/")
}
