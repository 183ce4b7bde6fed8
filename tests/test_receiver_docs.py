"""The collector configurations in the how-to are sound: strict YAML, known keys, pipelines of parts that are there.

The schema is ours, written from the READMEs of the collector's components: `additionalProperties` is false throughout.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError

from k8strace.formats import FORMATS

PAGE = Path(__file__).parent.parent / "docs" / "howto" / "collector.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)

IDS = ["send", "metrics", "spread", "file"]

DURATION = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
ADDRESS = {"type": "string", "pattern": r"^[a-z0-9.-]+:\d{1,5}$"}
BOOLEAN, COUNT, TEXT = {"type": "boolean"}, {"type": "integer", "minimum": 1}, {"type": "string"}


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TLS = fields(insecure=BOOLEAN, ca_file=TEXT, cert_file=TEXT, key_file=TEXT)
OTLP: dict[str, Any] = {
    "compression": {"enum": ["gzip", "zstd", "snappy", "none"]},
    "timeout": DURATION,
    "tls": TLS,
    "headers": {"type": "object", "additionalProperties": TEXT},
    "retry_on_failure": fields(
        enabled=BOOLEAN, initial_interval=DURATION, max_interval=DURATION, max_elapsed_time=DURATION
    ),
    "sending_queue": fields(enabled=BOOLEAN, num_consumers=COUNT, queue_size=COUNT),
}
EXPORTERS = {
    "otlp_grpc": fields(("endpoint",), endpoint=ADDRESS, **OTLP),
    "otlp_http": fields(("endpoint",), endpoint={"type": "string", "pattern": "^https?://"}, **OTLP),
    # The endpoint comes from the resolver.
    "loadbalancing": fields(
        ("protocol", "resolver"),
        routing_key={"enum": ["traceID", "service"]},
        protocol=fields(("otlp",), otlp=fields(**OTLP)),
        resolver=fields(
            ("static",),
            static=fields(("hostnames",), hostnames={"type": "array", "items": ADDRESS, "minItems": 2}),
        ),
    ),
    "file": fields(
        ("path",),
        path=TEXT,
        format={"enum": ["json", "proto"]},
        compression={"const": "zstd"},
        rotation=fields(max_megabytes=COUNT, max_days=COUNT, max_backups=COUNT, localtime=BOOLEAN),
    ),
}
PIPELINE = fields(
    ("receivers", "exporters"),
    receivers={"type": "array", "items": TEXT, "minItems": 1},
    exporters={"type": "array", "items": TEXT, "minItems": 1},
)
PROTOCOLS = {name: fields(endpoint=ADDRESS) for name in ("grpc", "http")}
CONFIG = fields(
    ("receivers", "exporters", "service"),
    receivers=fields(("otlp",), otlp=fields(("protocols",), protocols=fields(**PROTOCOLS))),
    exporters={
        "type": "object",
        "patternProperties": {rf"^{kind}(/\w+)?$": schema for kind, schema in EXPORTERS.items()},
        "additionalProperties": False,
    },
    service=fields(("pipelines",), pipelines=fields(traces=PIPELINE, metrics=PIPELINE)),
)


def loaded(text: str) -> Any:
    """Strict: a key that is given twice is an error."""
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("text", BLOCKS, ids=IDS)
def test_a_collector_would_know_every_key(text: str):
    jsonschema.validate(loaded(text), CONFIG)


@pytest.mark.parametrize("text", BLOCKS, ids=IDS)
def test_pipelines_consist_of_parts_that_are_there(text: str):
    config = loaded(text)
    (pipeline,) = config["service"]["pipelines"].values()
    assert pipeline["receivers"] == list(config["receivers"])
    assert pipeline["exporters"] == list(config["exporters"])


@pytest.mark.parametrize("text", BLOCKS, ids=IDS)
def test_the_collector_does_not_send_to_itself(text: str):
    """Both listen on the same machine, so on two ports."""
    config = loaded(text)
    own = [each["endpoint"] for each in config["receivers"]["otlp"]["protocols"].values()]
    endpoints = [each.get("endpoint", "").partition("://")[2] for each in config["exporters"].values()]
    endpoints += [each.get("endpoint") for each in config["exporters"].values()]
    assert not set(own) & set(endpoints)


def test_the_check_is_strict():
    config = loaded(BLOCKS[0])
    config["exporters"]["otlp_grpc/k8strace"]["comprssion"] = "gzip"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, CONFIG)
    with pytest.raises(DuplicateKeyError):
        loaded("a: 1\na: 2")


def test_what_the_file_exporter_writes_is_read():
    """`format: proto` with `compression: zstd` is a format of ours."""
    assert "zstd-frames" in FORMATS


def test_the_token_goes_where_we_look_for_it():
    from k8strace.receiver import Tokens

    header = loaded(BLOCKS[0])["exporters"]["otlp_grpc/k8strace"]["headers"]["authorization"]
    token = "a-token-from-the-environment"
    assert Tokens([token]).accept(header.replace("${env:K8STRACE_TOKEN}", token))
