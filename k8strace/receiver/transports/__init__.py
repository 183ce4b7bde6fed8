"""
How batches come in, and how the receiver is asked what it is like: sockets, connections, and the two protocols.

    addresses ─→ grpc_server ─→ grpc_service ─┐
             └─→ http_server ─→ asgi ─────────┴─→ Intake        status: /metrics, /healthz, /readyz
"""
