"""The page in a real browser: its sums are the library's, and text from spans stays text."""

import json
import os
import re
import subprocess
from pathlib import Path

import browsing
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace

ROOT = Path(__file__).parent.parent
CAPTURE = ROOT / "tests/data/k8s-1.36_etcd-3.6.otlp.zst"


@pytest.fixture(scope="module")
def requests():
    return k8strace.join(k8strace.read(CAPTURE))


@pytest.fixture(scope="module")
def file(requests, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    requests.to_html(path)
    return path


@pytest.fixture(scope="module")
def chromium():
    with browsing.chromium() as started:
        yield started


@pytest.fixture
def browser(chromium):
    """The one browser of all tests; what a test opened in it is closed behind it."""
    yield chromium
    for context in chromium.contexts:
        context.close()


def opened(browser, path, hash_="", **how):
    return browsing.opened(browser, path.as_uri() + hash_, **how)


def legend(page):
    return dict(
        page.locator("#answer .legend li").evaluate_all(
            "items => items.map(item => [item.querySelector('.name').textContent,"
            " Number(item.querySelector('data').getAttribute('value'))])"
        )
    )


def test_equal_input_gives_equal_bytes_and_the_page_itself_is_small(requests, file):
    assert requests.to_html() == file.read_text()
    assert len(requests[:0].to_html()) < 400_000


def test_a_page_may_be_as_large_as_it_takes(requests):
    few = requests.where(verb="delete")
    assert few.to_html(max_mb=float("inf")) == few.to_html(max_mb=1000)


def test_times_that_cannot_be_leave_the_page_whole():
    """Authentication at 0, and a request at the end of time: one more ns than a column of numbers can have."""
    message = ExportTraceServiceRequest()
    sent = message.resource_spans.add()
    sent.resource.attributes.add(key="service.name").value.string_value = "apiserver"
    filters, http = (
        sent.scope_spans.add(scope={"name": name})
        for name in (
            "k8s.op/apiserver/pkg/endpoints/filterlatency",
            "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
        )
    )
    first = filters.spans.add(trace_id=b"t" * 16, span_id=b"a" * 8, name="authentication", kind=1)
    first.end_time_unix_nano = 1_790_000_000_000_000_000
    request = http.spans.add(trace_id=b"t" * 16, span_id=b"r" * 8, name="GET", kind=2)
    request.parent_span_id, request.start_time_unix_nano = first.span_id, (1 << 63) - 1
    requests = k8strace.join(k8strace.decode(message))
    assert len(requests) == 1
    assert requests.to_html().startswith("<!doctype html>")


def test_nothing_but_its_own_script_and_style_may_run(file):
    text = file.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#x27;", "'")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "http://" not in re.sub(r'<script type="app.*?</script>', "", text, flags=re.DOTALL).replace(
        "http://www.w3.org/2000/svg", ""
    )


@pytest.mark.slow
def test_with_scripts_off_the_first_screen_is_there(browser, file, requests):
    page = opened(browser, file, java_script_enabled=False)
    total = sum(k8strace.attribute(requests).by()[0].all.phases.values())
    assert browsing.number(page, "#total") == total
    assert page.locator("#groups tbody tr").count() == 15
    assert page.locator("#findings li").count() == len(requests.findings())


@pytest.mark.slow
def test_sums_are_the_librarys_whatever_is_chosen(browser, file, requests):
    page = opened(browser, file)
    for hash_, chosen in (
        ("", requests),
        ("#verb=list", requests.where(verb="list")),
        ("#verb=update&resource=configmaps", requests.where(verb="update", resource="configmaps")),
        ("#w0=100000000", requests.where(wall_ns=lambda ns: ns >= 100_000_000)),
    ):
        page.goto(file.as_uri() + (hash_ or "#"))
        page.wait_for_timeout(150)
        for method in ("critical_path", "active_share", "self_time"):
            group = k8strace.attribute(chosen, method=method).by()[0].all
            page.locator("#flame .tools button").nth(
                ["critical_path", "self_time", "active_share"].index(method)
            ).click()
            assert browsing.number(page, "#total") == group.wall_ns
            assert legend(page) == group.phases
            assert browsing.number(page, "#flame-total") == sum(group.phases.values())
    assert page.said == []


@pytest.mark.slow
def test_the_brush_chooses_and_the_address_brings_it_back(browser, file):
    page = opened(browser, file, viewport={"width": 1280, "height": 900})
    everything = browsing.number(page, "#total")
    canvas = page.locator("#timeline canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 700, box["y"] + 24, steps=4)
    page.mouse.up()
    brushed = browsing.number(page, "#total")
    assert 0 < brushed < everything
    again = opened(browser, file, page.evaluate("location.hash"))
    assert browsing.number(again, "#total") == brushed


@pytest.mark.slow
def test_a_waterfall_is_walked_with_the_keyboard(browser, file, requests):
    from playwright.sync_api import expect

    slow = requests.slowest(1)[0]
    page = opened(browser, file, f"#r={slow.trace_id}")
    tree = page.get_by_role("tree")
    tree.focus()
    spans = page.get_by_role("treeitem")
    expect(spans).to_have_count(slow.spans)
    page.keyboard.press("ArrowDown")
    expect(spans.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(spans).to_have_count(1)
    page.keyboard.press("ArrowRight")
    for key in "wwd":
        page.keyboard.press(key)
    page.wait_for_url("**/*z0=*", timeout=5_000)
    assert page.said == []


@pytest.mark.slow
def test_axe_finds_nothing(browser, file, requests):
    hash_ = f"#r={requests.slowest(1)[0].trace_id}"
    page = opened(browser, file, hash_, bypass_csp=True, color_scheme="light")
    assert browsing.violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert browsing.violations(page, "color-contrast") == []  # all that a theme changes


def hostile(number_of):
    parts = [
        "</script><script>x()</script>",
        "<img src=x onerror=x()>",
        "\u202etxt.exe",
        "\x1b[2J",
        "'\"&amp;",
        "]]>",
        "${x}",
    ]
    batch = ExportTraceServiceRequest()
    resource = batch.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "apiserver"
    scope = resource.scope_spans.add()
    scope.scope.name = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
    for at in range(number_of):
        name = f"{parts[at % len(parts)]}{at}"
        span = scope.spans.add(
            name=name, kind=2, trace_id=(at + 1).to_bytes(16), span_id=(at + 1).to_bytes(8),
            start_time_unix_nano=10**18 + at * 1000, end_time_unix_nano=10**18 + at * 2000 + 500,
        )  # fmt: skip
        span.attributes.add(key=name).value.string_value = name
        span.attributes.add(key="http.target").value.string_value = f"/{name}"
    return k8strace.join(k8strace.decode(batch))


@pytest.mark.slow
def test_ten_thousand_hostile_names_stay_text(browser, tmp_path):
    requests = hostile(10_000)
    assert len(requests) == 10_000
    requests.to_html(tmp_path / "hostile.html")
    page = opened(browser, tmp_path / "hostile.html")
    page.locator("#requests button.link").first.click()
    assert page.locator("script").count() == 2
    assert page.locator("img, iframe, object").count() == 0
    assert page.said == []


@pytest.mark.slow
def test_redaction_leaves_no_name(requests):
    text = requests.to_html(redact=True)
    import base64
    import gzip

    packed = re.search(r'id="k8strace-data">([^<]+)<', text)[1]
    data = gzip.decompress(base64.b64decode(packed))
    whole = text.encode() + data
    names = {
        name for column in ("object_name", "namespace", "user_agent") for name in requests.column(column)
    }
    names |= set(requests.webhook_calls.column("webhook").to_pylist())
    names -= {"kubernetes"}  # a Service of every cluster, and a word of media types
    assert [name for name in names - {None} if len(name) > 8 and name.encode() in whole] == []


@pytest.mark.slow
def test_the_budget_is_kept_and_what_was_left_out_is_said(requests):
    small = requests.to_html(max_mb=0.2)
    assert len(small) < len(requests.to_html())
    assert re.search(r"The call trees of [\d,]+ of 1,411 requests are in this page", small)


def test_the_script_is_what_its_source_makes(tmp_path):
    esbuild = ROOT / "page/node_modules/.bin/esbuild"
    if not esbuild.exists():
        browsing.missing("K8STRACE_PAGE_TOOLS", "esbuild is not installed (cd page && npm ci)")
    made = json.loads((ROOT / "page/package.json").read_text())["scripts"]["build"]
    command = made.replace("../k8strace/page", str(tmp_path)).replace("esbuild ", f"{esbuild} ")
    subprocess.run(command, shell=True, cwd=ROOT / "page", check=True, capture_output=True)
    for name in ("page.js", "page.css"):
        assert (tmp_path / name).read_bytes() == (ROOT / "k8strace/page" / name).read_bytes()


@pytest.mark.slow
def test_pictures_for_people(browser, file, requests):
    """Written where K8STRACE_PICTURES says; what is tested is that nothing is wider than the window."""
    folder = os.environ.get("K8STRACE_PICTURES")
    for width in (400, 1280, 3840):
        for theme in ("light", "dark"):
            page = opened(
                browser, file, f"#r={requests.slowest(1)[0].trace_id}",
                viewport={"width": width, "height": 900}, color_scheme=theme,
            )  # fmt: skip
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if folder:
                page.screenshot(path=Path(folder) / f"{width}-{theme}.png")
            page.context.close()
