"""
Requests as files of other tools.

    requests ── critical path ──→ stacks.py     folded, speedscope, pprof     weights sum to the library's totals
             ── spans, times ───→ perfetto.py   perfetto
             ── wire, told ─────→ otlp.py       otlp, otlp-json, jaeger        component, critical ns, repairs beside
             ── columns ────────→ tables.py     parquet, arrow, csv            spans, requests, attribution
             ── ids ────────────→ rows.py       rows without indices           for digests and Spark
"""

from k8strace.export.writing import FORMATS, TABLES, export

__all__ = ["FORMATS", "TABLES", "export"]
