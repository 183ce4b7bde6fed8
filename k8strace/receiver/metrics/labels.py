"""
Closed sets of label values: what comes from the wire may not decide how many time series there are.

A verb, resource or component that is in no set counts as "other"; requests off the resources, such as `/healthz`, have
the resource "nonresource".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from k8strace.components import Rule, Taxonomy, component_of

__all__ = [
    "COMPONENTS",
    "OTHER",
    "RESOURCES",
    "VERBS",
    "code_label",
    "component_label",
    "resource_label",
    "verb_label",
]

OTHER: Final = "other"
NONRESOURCE: Final = "nonresource"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VERBS: Final = _words(
    "get list watch create update patch delete deletecollection proxy connect post put head options"
)
"""Kubernetes verbs, and HTTP methods in lower case off the resources."""

RESOURCES: Final = _words(
    # core
    "bindings componentstatuses configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims "
    "persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services "
    # admissionregistration, apiextensions, apiregistration
    "mutatingwebhookconfigurations validatingwebhookconfigurations validatingadmissionpolicies "
    "validatingadmissionpolicybindings mutatingadmissionpolicies mutatingadmissionpolicybindings "
    "customresourcedefinitions apiservices "
    # apps, autoscaling, batch, policy
    "controllerrevisions daemonsets deployments replicasets statefulsets horizontalpodautoscalers cronjobs jobs "
    "poddisruptionbudgets podsecuritypolicies "
    # authentication, authorization, certificates
    "tokenreviews selfsubjectreviews localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews "
    "subjectaccessreviews certificatesigningrequests clustertrustbundles podcertificaterequests "
    # coordination, discovery, node, scheduling, rbac
    "leases leasecandidates endpointslices runtimeclasses priorityclasses workloads clusterrolebindings clusterroles "
    "rolebindings roles "
    # flowcontrol, networking
    "flowschemas prioritylevelconfigurations ingressclasses ingresses networkpolicies ipaddresses servicecidrs "
    # storage, dynamic resources, internal
    "csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattributesclasses "
    "deviceclasses resourceclaims resourceclaimtemplates resourceslices devicetaintrules "
    "storageversions storageversionmigrations"
)
"""Resources that Kubernetes 1.22 to 1.37 serves itself. Custom resources are "other"."""

_OURS = [rule for rule in Taxonomy().rules if isinstance(rule, Rule)]
_MARKED = [phase for rule in _OURS for mark in rule.events.values() for phase in mark if phase]

COMPONENTS: Final = frozenset(map(component_of, [*(rule.phase for rule in _OURS), *_MARKED, "unattributed"]))
"""Components of k8strace's own taxonomy."""


def verb_label(verb: str | None) -> str:
    """
    A verb as a label.

    Examples:
        >>> verb_label("list"), verb_label("drop table"), verb_label(None)
        ('list', 'other', 'other')
    """
    return _within(verb, VERBS)


def resource_label(resource: str | None) -> str:
    """
    A resource as a label.

    Examples:
        >>> resource_label("pods"), resource_label("widgets"), resource_label(None)
        ('pods', 'other', 'nonresource')
    """
    return NONRESOURCE if resource is None else _within(resource, RESOURCES)


def component_label(component: str) -> str:
    """
    A component as a label.

    Examples:
        >>> component_label("etcd"), component_label("sidecar")
        ('etcd', 'other')
    """
    return _within(component, COMPONENTS)


def code_label(status: int | None) -> str:
    """
    An HTTP status as a label: its class, or "none".

    Examples:
        >>> code_label(201), code_label(503), code_label(None), code_label(77)
        ('2xx', '5xx', 'none', 'other')
    """
    if status is None:
        return "none"
    return f"{status // 100}xx" if 100 <= status < 600 else OTHER


def _within(value: str | None, known: Collection[str]) -> str:
    return value if value is not None and value in known else OTHER
