"""The page against its goals: sizes, times to the first screen and to the whole, heap, frames, equal bytes.

python benchmarks/page.py                  # a million spans
python benchmarks/page.py --spans 100000   # a smaller one
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import workloads
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace

START: Final = 1_700_000_000 * 10**9
WIDE: Final = 100_000
PAINTED: Final = """() => {
    const entry = performance.getEntriesByName("first-contentful-paint")[0];
    return entry ? entry.startTime : null;
}"""
FRAMES: Final = """() => new Promise(done => {
    const times = [];
    let last = performance.now();
    const frame = now => { times.push(now - last); last = now; times.length < 60 ? requestAnimationFrame(frame) : done(times); };
    requestAnimationFrame(frame);
})"""  # noqa: E501

Row = tuple[str, float, float, str]


def cpu() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def one_request(spans: int) -> bytes:
    """A request with so many spans below it, one after the other."""
    batch = ExportTraceServiceRequest()
    of = batch.resource_spans.add()
    of.resource.attributes.add(key="service.name").value.string_value = "apiserver"
    scope = of.scope_spans.add()
    scope.scope.name = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
    for at in range(spans):
        scope.spans.add(
            name="GET" if at == 0 else "List etcd3",
            kind=2 if at == 0 else 1,
            trace_id=(1).to_bytes(16),
            span_id=(at + 1).to_bytes(8),
            parent_span_id=b"" if at == 0 else (1).to_bytes(8),
            start_time_unix_nano=START + at * 1_000,
            end_time_unix_nano=START + (spans * 1_000 if at == 0 else at * 1_000 + 900),
        )
    return batch.SerializeToString()


def making(folder: Path, spans: int) -> Iterator[Row]:
    """The file: its size, its time, and the same bytes again."""
    recording = folder / "recording.otlp.zst"
    workloads.write(recording, workloads.generate(spans))
    begin = cpu()
    requests = k8strace.join(k8strace.read(recording))
    joined = cpu() - begin
    str(k8strace.attribute(requests).by("verb", "resource"))
    list(requests.findings())
    report = cpu() - begin
    requests = k8strace.join(k8strace.read(recording))  # what the report has worked out must not help
    begin = cpu()
    requests.to_html(folder / "page.html")
    page = joined + cpu() - begin
    again = requests.to_html()
    yield "page without data", len(requests[:0].to_html()) / 1e3, 400, "KB"
    yield "file", (folder / "page.html").stat().st_size / 1e6, 12, "MB"
    yield "making it / the report", page / report, 2, "times"
    yield "bytes that differ", float(again != (folder / "page.html").read_text()), 0, ""


def looking(browser: Any, path: Path) -> Iterator[Row]:
    """The first screen, the whole and the heap of a page that is opened."""
    page = browser.new_page()
    begin = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_selector("[data-ready]", timeout=120_000)
    whole = time.perf_counter() - begin
    painted = page.evaluate(PAINTED)
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")
    yield "first screen", float("inf") if painted is None else painted / 1e3, 1, "s"
    yield "whole", whole, 3, "s"
    buffers = heap.get("backingStorageSize", 0) + heap.get("embedderHeapUsedSize", 0)
    yield "heap and buffers", (heap["usedSize"] + buffers) / 1e6, 300, "MB"
    page.close()


def busy_ms(session: Any) -> float:
    """CPU time of the page's main thread, whatever else the machine does."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1e3 * next(each["value"] for each in metrics if each["name"] == "TaskDuration")


def moving(browser: Any, folder: Path) -> Iterator[Row]:
    """Frames while the waterfall of a large request is zoomed and scrolled with the keyboard."""
    requests = k8strace.join(k8strace.decode(one_request(WIDE)))
    requests.to_html(folder / "wide.html")
    page = browser.new_page()
    page.goto((folder / "wide.html").as_uri() + f"#r={requests[0].trace_id}")
    page.wait_for_selector("[data-ready]", timeout=120_000)
    page.get_by_role("tree").focus()
    session = page.context.new_cdp_session(page)
    session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
    session.send("Performance.enable")
    for told, key in (("zoom", "w"), ("scroll", "PageDown")):
        before = busy_ms(session)
        waiting = page.evaluate_handle(f"() => ({{frames: ({FRAMES})()}})")
        for _ in range(20):
            page.keyboard.press(key)
        times = sorted(page.evaluate("async it => await it.frames", waiting))
        yield f"{told} of {WIDE:,} spans, frame at p95", times[int(0.95 * len(times))], 20, "ms"
        yield f"{told}, work of the page in a frame", (busy_ms(session) - before) / len(times), 16, "ms"
    page.close()


def main() -> None:
    """Print each figure beside its goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--spans", type=int, default=1_000_000)
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        parser.error("chromium is not installed (apt-get install chromium)")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        show(making(folder, asked.spans))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        show(looking(browser, folder / "page.html"))
        show(moving(browser, folder))
        browser.close()


def show(rows: Iterator[Row]) -> None:
    """Print them as they come."""
    for told, value, goal, unit in rows:
        verdict = "met" if value <= goal else "MISSED"
        print(f"{told:<40} {value:>10.2f} {unit:<6} goal {goal:g}  {verdict}", flush=True)


if __name__ == "__main__":
    main()
