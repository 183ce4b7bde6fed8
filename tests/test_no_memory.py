"""Memory that cannot be had is an exception, never the end of the process: in children with little address space."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the size is read from /proc")

CAPTURE = "tests/data/k8s-1.36_etcd-3.6.otlp.zst"
SMALL = "tests/data/field/d1-traced-webhook.json"
LIMITED = """
import contextlib, io, resource, sys
import k8strace
from k8strace.__main__ import main
with contextlib.redirect_stdout(io.StringIO()):  # whatever is imported late is imported now
    main(["report", sys.argv[3]])
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + (int(sys.argv[1]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
"""
STEPS = """
try:
    requests = k8strace.join(k8strace.read(sys.argv[2]))
    k8strace.attribute(requests)
    requests.etcd_calls
    print("done")
except MemoryError:
    print("MemoryError")
"""
REPORT = """
sys.exit(main(["report", *[sys.argv[2]] * 8]))  # many repeats, which need memory too
"""

SPLIT = """
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
message = ExportTraceServiceRequest()
sent = message.resource_spans.add()
sent.resource.attributes.add(key="all").value.string_value = "x" * (1 << 20)
inside = sent.scope_spans.add()
for number in range(1, 2001):
    inside.spans.add(trace_id=number.to_bytes(16, "big"), span_id=b"a" * 8, name="a")
spans = k8strace.decode(message)
try:
    print(len(spans.to_otlp(split="trace_id")))
except MemoryError as error:
    print(error)
"""


def limited(steps, mib):
    arguments = [sys.executable, "-c", LIMITED + steps, str(mib), CAPTURE, SMALL]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("mib", [0, 1, 3, 6, 9, 12, 16, 20, 24, 32])
def test_reading_and_joining_raise_memory_error(mib):
    """Whatever step it is that meets the limit."""
    done = limited(STEPS, mib)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() in ("done", "MemoryError")


@pytest.mark.slow
@pytest.mark.parametrize("mib", [0, 1, 3, 6, 12, 24, 48, 96])
def test_report_ends_with_one_line_and_exit_code_1(mib):
    """A report is written whole or not at all."""
    done = limited(REPORT, mib)
    if done.returncode == 0:
        assert mib > 6
        return
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "k8strace: there is not enough memory for this\n"


@pytest.mark.slow
def test_a_large_resource_of_many_traces_is_not_written_for_each():
    """2,000 traces with a resource of 1 MiB are 2 GiB as a message for each."""
    done = limited(SPLIT, 512)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("expected memory for 2097")


@pytest.mark.slow
def test_enough_memory_is_enough():
    """The limit is what fails above, and nothing else."""
    assert limited(STEPS, 256).stdout == "done\n"
    assert limited(REPORT, 256).returncode == 0
