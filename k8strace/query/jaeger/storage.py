"""
Jaeger's remote storage, version 2, over gRPC: `TraceReader` and `DependencyReader` over traces that are held.

Its writer is OTLP, which the receiver takes already. Messages are made from the table below, which says of each field
what `jaeger/storage/v2/*.proto` says; traces and attributes are OTLP's own messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from k8strace.query.jaeger import answers
from k8strace.query.jaeger.parameters import KINDS, MOST_TRACES, kind_of, query_of
from k8strace.query.traces import END, Found, SpanQuery, Traces

if TYPE_CHECKING:
    import grpc

__all__ = ["SERVICES", "messages", "storage_handler"]

PACKAGE: Final = "jaeger.storage.v2"
SERVICES: Final = (f"{PACKAGE}.TraceReader", f"{PACKAGE}.DependencyReader")

TIME: Final = ".google.protobuf.Timestamp"
DURATION: Final = ".google.protobuf.Duration"
KEY_VALUE: Final = ".opentelemetry.proto.common.v1.KeyValue"

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "GetTraceParams": ("trace_id: bytes", f"start_time: {TIME}", f"end_time: {TIME}"),
    "GetTracesRequest": ("query: repeated GetTraceParams",),
    "GetServicesRequest": (),
    "GetServicesResponse": ("services: repeated string",),
    "GetOperationsRequest": ("service: string", "span_kind: string"),
    "Operation": ("name: string", "span_kind: string"),
    "GetOperationsResponse": ("operations: repeated Operation",),
    "TraceQueryParameters": (
        "service_name: string",
        "operation_name: string",
        f"attributes: repeated {KEY_VALUE}",
        f"start_time_min: {TIME}",
        f"start_time_max: {TIME}",
        f"duration_min: {DURATION}",
        f"duration_max: {DURATION}",
        "search_depth: int32",
    ),
    "FindTracesRequest": ("query: TraceQueryParameters",),
    "FoundTraceID": ("trace_id: bytes", f"start: {TIME}", f"end: {TIME}"),
    "FindTraceIDsResponse": ("trace_ids: repeated FoundTraceID",),
    "GetDependenciesRequest": (f"start_time: {TIME}", f"end_time: {TIME}"),
    "Dependency": ("parent: string", "child: string", "call_count: uint64", "source: string"),
    "GetDependenciesResponse": ("dependencies: repeated Dependency",),
}
"""Message → its fields, numbered from 1 on."""


@cache
def messages() -> Mapping[str, Any]:
    r"""
    The classes of the messages by name, in a pool of their own.

    Examples:
        >>> messages()["GetOperationsRequest"](service="etcd").SerializeToString()
        b'\n\x04etcd'
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2
    from opentelemetry.proto.common.v1 import common_pb2

    pool = descriptor_pool.DescriptorPool()
    imports = (timestamp_pb2, duration_pb2, common_pb2)
    for module in imports:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="k8strace/jaeger_storage.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=[module.DESCRIPTOR.name for module in imports],
    )
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            called, _, kind = field.partition(": ")
            repeated, kind = kind.startswith("repeated "), kind.removeprefix("repeated ")
            message.field.add(
                name=called,
                number=number,
                label=3 if repeated else 1,
                **_type_of(kind, descriptor_pb2.FieldDescriptorProto),
            )
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in FIELDS
    }


def _type_of(kind: str, types: Any) -> dict[str, Any]:
    plain = getattr(types, f"TYPE_{kind.upper()}", None)
    if plain is not None:
        return {"type": plain}
    return {"type": types.TYPE_MESSAGE, "type_name": kind if kind.startswith(".") else f".{PACKAGE}.{kind}"}


def storage_handler(
    traces: Traces, admits: Callable[[bytes], bool] = lambda _: True
) -> list[grpc.GenericRpcHandler[Any, Any]]:
    """
    What a gRPC server is given: `server.add_generic_rpc_handlers(storage_handler(traces))`.

    Args:
        traces: What is looked for.
        admits: Whether who sent this `authorization` may read.
    """
    import grpc

    storage = _Storage(traces)
    streams = grpc.unary_stream_rpc_method_handler
    single = grpc.unary_unary_rpc_method_handler
    methods = {
        "GetTraces": (streams, storage.get_traces, "GetTracesRequest", None),
        "FindTraces": (streams, storage.find_traces, "FindTracesRequest", None),
        "FindTraceIDs": (single, storage.find_trace_ids, "FindTracesRequest", "FindTraceIDsResponse"),
        "GetServices": (single, storage.get_services, "GetServicesRequest", "GetServicesResponse"),
        "GetOperations": (single, storage.get_operations, "GetOperationsRequest", "GetOperationsResponse"),
        "GetDependencies": (
            single,
            storage.get_dependencies,
            "GetDependenciesRequest",
            "GetDependenciesResponse",
        ),
    }
    known = messages()
    made = {
        name: kind(
            _admitted(method, admits),
            request_deserializer=known[asked].FromString,
            response_serializer=known[answer].SerializeToString if answer else None,
        )
        for name, (kind, method, asked, answer) in methods.items()
    }
    dependencies = {"GetDependencies": made.pop("GetDependencies")}
    return [
        grpc.method_handlers_generic_handler(service, handlers)
        for service, handlers in zip(SERVICES, (made, dependencies), strict=True)
    ]


def _admitted(method: Callable[[Any], Any], admits: Callable[[bytes], bool]) -> Callable[[Any, Any], Any]:
    import grpc

    def called(request: Any, context: Any) -> Any:
        sent = [value for name, value in context.invocation_metadata() if name == "authorization"]
        if not admits(",".join(sent).encode()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "expected a bearer token")
        return method(request)

    return called


class _Storage:
    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def get_traces(self, request: Any) -> Iterator[bytes]:
        wanted = [each.trace_id.hex() for each in request.query if len(each.trace_id) == 16]
        return _streamed(self._traces.get(wanted))

    def find_traces(self, request: Any) -> Iterator[bytes]:
        return _streamed(self._traces.find(_query(request.query)))

    def find_trace_ids(self, request: Any) -> Any:
        found = self._traces.find(_query(request.query))
        return messages()["FindTraceIDsResponse"](
            trace_ids=[{"trace_id": bytes.fromhex(each.trace_id)} for each in found]
        )

    def get_services(self, _: Any) -> Any:
        return messages()["GetServicesResponse"](services=self._traces.services())

    def get_operations(self, request: Any) -> Any:
        kind = kind_of(request.span_kind)
        operations = [
            {"name": name, "span_kind": KINDS.get(number, "")}
            for service, name, number in self._traces.operations()
            if service == request.service and kind in (None, number)
        ]
        return messages()["GetOperationsResponse"](operations=operations)

    def get_dependencies(self, request: Any) -> Any:
        end = request.end_time.ToNanoseconds() if request.HasField("end_time") else END
        links = self._traces.dependencies(request.start_time.ToNanoseconds(), end)
        return messages()["GetDependenciesResponse"](
            dependencies=[
                {"parent": parent, "child": child, "call_count": calls} for parent, child, calls in links
            ]
        )


def _streamed(found: list[Found]) -> Iterator[bytes]:
    """A message has spans of one trace only."""
    return (message for each in found for message in answers.wires(each))


def _query(asked: Any) -> SpanQuery:
    return query_of(
        {each.key: _text(each.value) for each in asked.attributes},
        service=asked.service_name or None,
        operation=asked.operation_name or None,
        start_unix_nano=asked.start_time_min.ToNanoseconds(),
        end_unix_nano=asked.start_time_max.ToNanoseconds() or END,
        least_ns=asked.duration_min.ToNanoseconds(),
        most_ns=asked.duration_max.ToNanoseconds() or END,
        limit=min(asked.search_depth, MOST_TRACES) if asked.search_depth > 0 else MOST_TRACES,
    )


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    plain = getattr(value, kind) if kind else ""
    return str(plain).lower() if isinstance(plain, bool) else str(plain)
