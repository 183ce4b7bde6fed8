"""What is held, as Jaeger's own programs and Grafana read it: its HTTP API, and its storage over gRPC."""

from k8strace.query.jaeger.api import query_app
from k8strace.query.jaeger.storage import storage_handler

__all__ = ["query_app", "storage_handler"]
