"""What a notebook shows is safe, bounded, readable in both themes, and adds up."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from builder import (
    APISERVER,
    CLIENT,
    HTTP,
    Span,
    apiserver_request,
    batches,
    etcd_client,
    etcd_server,
    verb_span,
)
from builder import trace as trace_of
from hypothesis import given
from strategies import clean_trees, dirty_batches

import k8strace
from k8strace.views import notebook, palette, waterfall
from k8strace.views.text import clean

OWNED = "document.title='owned'"

PAYLOADS = [
    f"<script>{OWNED}</script>",
    f'"><img src=x onerror="{OWNED}">',
    f"'><svg onload={OWNED}>",
    f"' onmouseover='{OWNED}' x='",
    f'" autofocus onfocus="{OWNED}" x="',
    f'</div></td></table></style></title><iframe srcdoc="<script>parent.{OWNED}</script>">',
    "<!--",
    "]]><b>",
    "&lt;script&gt; &amp; &#60; &colon;",
    "javascript:alert(1)",
    "expression(alert(1));background:url(https://example.com/x)",
    r"$\href{javascript:alert(1)}{x}$",
    "nul \x00 bell \x07 escape \x1b[2J delete \x7f c1 \x9b",
    "\u202egpj.exe \u2066isolate\u2069 \u200bzero \u2028line\u2029 \ufeff",
]

ELEMENTS = {"div", "span", "b", "table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {"class", "style", "title", "role", "aria-label"}


class Page(HTMLParser):
    """What a parser of our own makes of a page: elements, attributes, texts; every element must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment

    @property
    def titles(self) -> list[str]:
        return [attributes["title"] for _, attributes in self.elements if "title" in attributes]

    def bars(self) -> Iterator[int]:
        """The nanoseconds of each composition bar: a sum of exact numbers in the tooltips of its pieces."""
        wanted = None
        for _, attributes in self.elements:
            if attributes.get("role") == "img":
                if wanted is not None:
                    yield wanted
                wanted = 0
            elif wanted is not None and attributes.get("style", "").startswith("flex:0 1 "):
                wanted += exact(attributes["title"])
        if wanted is not None:
            yield wanted


def exact(title: str) -> int:
    """The number in "etcd.server: 1,829,245 ns (0.1%)"."""
    (digits,) = re.findall(r"([\d,]+) ns", title)
    return int(digits.replace(",", ""))


def views(spans: k8strace.Spans, taxonomy: k8strace.Taxonomy | None = None) -> list[str]:
    """Every view of some spans."""
    requests = k8strace.join(spans, taxonomy=taxonomy)
    attributions = [
        k8strace.attribute(requests, method=m) for m in ("critical_path", "active_share", "self_time")
    ]
    keys = ("verb", "resource", "namespace", "user_agent")
    shown = [spans, requests, *requests[:3], *attributions, attributions[0].by(*keys), attributions[0].by()]
    return [each._repr_html_() for each in shown]


def hostile(payload: str) -> k8strace.Spans:
    """A request with the payload wherever text can be: made with the official classes."""
    inner = Span(
        payload, 10, 40, [], process=(payload, payload), attributes={payload: payload}, events=[(20, payload)]
    )
    target = f"/api/v1/namespaces/{payload}/{payload}"
    root = apiserver_request(
        "1.31", "GET", target, 0, 100, [verb_span("Get", 5, 90, inner)], template=payload
    )
    root.attributes |= {"user_agent.original": payload, "http.user_agent": payload, payload: payload}
    sent = batches(trace_of(root))
    for message in sent:
        for resource_spans in message.resource_spans:
            resource_spans.resource.attributes.add(key=payload).value.string_value = payload
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    span.status.code = 2
                    span.status.message = payload
    return k8strace.decode(sent)


def of_payload(payload: str) -> k8strace.Taxonomy:
    """A user's rule may name its phase as it likes."""
    return k8strace.Taxonomy().with_rule(lambda signature: payload if signature.name == payload else None)


# ── Safe ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("payload", PAYLOADS)
def test_text_from_spans_stays_text(payload):
    """No payload makes an element or an attribute, in any view; each is there to be read."""
    pages = [Page(html) for html in views(hostile(payload), of_payload(payload))]
    for page in pages:
        assert {tag for tag, _ in page.elements} <= ELEMENTS
        assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
    in_spans, in_requests, in_request, *_ = pages
    assert clean(payload) in in_spans.texts
    assert "/" in payload or any(
        clean(payload) in text for text in in_requests.texts
    )  # the path was cut there
    assert any(clean(payload) in text for text in in_request.texts)
    assert any(clean(payload) in title for title in in_request.titles)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_styles_are_only_ours(payload):
    """No text from a span gets into a style, where it could load things or cover others."""
    styles = [
        a.get("style", "")
        for html in views(hostile(payload), of_payload(payload))
        for _, a in Page(html).elements
    ]
    assert [
        style for style in styles if clean(payload) in style or "url(" in style or "expression" in style
    ] == []


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_invisible_is_left(payload):
    """Control, format and separator characters are written out, so that a name looks like what it is."""
    assert all(html.isprintable() for html in views(hostile(payload), of_payload(payload)))


def test_notebooks_look_for_no_formulas():
    """MathJax makes links of formulas: both of its class names say that there is nothing for it here."""
    for html in views(hostile("$x$")):
        assert {"tex2jax_ignore", "mathjax_ignore"} <= set(Page(html).elements[0][1]["class"].split())


@pytest.mark.slow
def test_a_browser_runs_nothing_and_shows_every_payload(tmp_path):
    """All payloads in one page in a real browser: no script runs, and each can be read."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium here: install it to see our HTML in a real browser")
    pages = [html for payload in PAYLOADS for html in views(hostile(payload), of_payload(payload))]
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><title>safe</title>{''.join(pages)}")
    dom = browsed(chromium, page, tmp_path / "profile")
    assert "<title>safe</title>" in dom
    assert re.findall(r"<(script|img|svg|iframe|style|link|object|embed)\b", dom) == []
    texts = "\n".join(Page(re.sub(r"<(!doctype|meta)[^>]*>", "", dom, flags=re.IGNORECASE)).texts)
    assert [payload for payload in PAYLOADS if clean(payload) not in texts] == []


def browsed(chromium, page, profile) -> str:
    """The document as the browser has it after loading, without any network."""
    off = ["gpu", "quic", "background-networking", "component-update", "sync", "extensions"]
    return subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            *(f"--disable-{each}" for each in off),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


# ── Adds up ───────────────────────────────────────────────────────────────────────────────────────


def test_the_bars_of_a_capture_add_up_to_the_wall(capture):
    """The numbers of a request's composition bar sum to its wall time, in ns, for every 25th request."""
    for request in k8strace.join(k8strace.read(capture))[::25]:
        assert list(Page(request._repr_html_()).bars()) == [request.wall_ns]


@pytest.mark.slow
@given(clean_trees() | dirty_batches())
def test_the_bars_of_any_request_add_up_to_the_wall(sent):
    """Whatever the tree, and every view of it can be made."""
    spans = k8strace.decode(sent)
    views(spans)
    for request in k8strace.join(spans):
        assert list(Page(request._repr_html_()).bars()) == [request.wall_ns]


def test_the_bars_of_a_breakdown_add_up_to_their_bands(capture_136):
    """One bar for all of a group and one for each band, with the band's nanoseconds."""
    breakdown = k8strace.attribute(k8strace.join(k8strace.read(capture_136))).by("verb")
    bands = [band for group in breakdown for band in (group.all, *group.bands.values())]
    assert list(Page(breakdown._repr_html_()).bars()) == [band.wall_ns for band in bands]


# ── Drawn as it was ───────────────────────────────────────────────────────────────────────────────


def drawn() -> k8strace.Request:
    """
    A get of 1,000 ns with one etcd call.

        root     |==================================|    0..1000
        Get         |============================|     100..900
        KV/Range           |==========|                 300..700, etcd's own 400..600
    """
    call = etcd_client("KV/Range", 300, 700, etcd_server("KV/Range", 400, 600))
    target = "/api/v1/namespaces/default/pods/a"
    root = apiserver_request("1.31", "GET", target, 0, 1000, [verb_span("Get", 100, 900, call)])
    (request,) = k8strace.join(k8strace.decode(batches(trace_of(root))))
    return request


def test_the_waterfall_puts_bars_where_the_drawing_has_them():
    """Left edge and width in percent, in preorder, the open span first and then what the request waited for."""
    boxes = [
        (re.search(r"left:min\(([\d.]+)%", a["style"])[1], re.search(r"width:([\d.]+)%", a["style"])[1])
        for _, a in Page(drawn()._repr_html_()).elements
        if "left:min(" in a.get("style", "")
    ]
    numbers = [(float(left), float(width)) for left, width in boxes]
    assert [box for box in numbers if box[1] > 0.1] == [
        (0, 100), (0.1, 9.9), (90, 10),  # root, before and after Get; its authentication took the first ns
        (10, 80), (10, 20), (70, 20),  # Get around the call
        (30, 40), (30, 10), (60, 10),  # the call, on its way there and back
        (40, 20), (40, 20),  # etcd
    ]  # fmt: skip


def test_a_request_says_what_it_is_and_what_was_done_to_it():
    """Facts in words; the span that was moved from below `authentication` is marked."""
    page = Page(drawn()._repr_html_())
    text = "".join(page.texts)
    assert text.startswith("get pods -n default · HTTP 200 · 1.00 µs · 5 spans · 1 etcd call · complete")
    assert text.count("repaired") == 1
    assert [title for title in page.titles if "repaired (authentication_children)" in title]


def test_errors_are_marked_with_their_message():
    """A span whose status is ERROR says so, and why in its tooltip."""
    page = Page(next(iter(k8strace.join(hostile("no quorum"))))._repr_html_())
    assert "error" in page.texts
    assert [title for title in page.titles if "error: no quorum" in title]


def test_what_ends_after_the_request_is_cut_and_said():
    """A span's bar does not leave the picture; its tooltip tells the exact rest."""
    late = Span("Call late", 50, 400, kind=CLIENT, scope=HTTP, process=APISERVER)
    root = apiserver_request("1.34", "GET", "/healthz", 0, 100, [late])
    (request,) = k8strace.join(k8strace.decode(batches(trace_of(root))))
    page = Page(request._repr_html_())
    assert [title for title in page.titles if "ends 300 ns after the request" in title]
    assert "cut after it 300 ns" in "".join(page.texts)


# ── Small ─────────────────────────────────────────────────────────────────────────────────────────


def wide(children: int) -> k8strace.Request:
    inner = [Span(f"step {number}", number, number + 1) for number in range(1, children + 1)]
    root = apiserver_request("1.34", "GET", "/healthz", 0, children + 2, inner)
    (request,) = k8strace.join(k8strace.decode(batches(trace_of(root))))
    return request


def test_a_large_tree_is_cut_in_words():
    """Sixty rows, and how many more there are; forty pieces in a row."""
    html = wide(1000)._repr_html_()
    assert f"… {1005 - waterfall.MOST_ROWS} more spans" in Page(html).texts
    assert len(html) < 100_000


def test_a_huge_tree_is_not_drawn(monkeypatch):
    """Above the limit no tree is built: the composition comes from the core, and still adds up."""
    monkeypatch.setattr(notebook, "MOST_DRAWN", 100)
    request = wide(200)
    page = Page(request._repr_html_())
    assert "Its 205 spans are too many to draw here." in page.texts
    assert list(page.bars()) == [request.wall_ns]
    assert list(Page(request._requests._repr_html_()).bars()) == [request.wall_ns]


def test_large_objects_stay_small(capture):
    """Whatever the capture, no view takes more than 100 kB."""
    assert max(map(len, views(k8strace.read(capture)))) < 100_000


@pytest.mark.parametrize("sent", [[], [b""]])
def test_nothing_is_shown_as_nothing(sent):
    """No spans, no requests: still pages."""
    for html in views(k8strace.decode(sent)):
        Page(html)


def test_watches_are_left_out_and_counted():
    """A request that is open by its nature says nothing about latency."""
    sent = [
        apiserver_request("1.34", "GET", "/api/v1/pods?watch=true", 0, 10**12, []),
        apiserver_request("1.34", "GET", "/api/v1/pods", 0, 1000, []),
    ]
    requests = k8strace.join(
        k8strace.decode(batches(*(trace_of(root, trace_id=i) for i, root in enumerate(sent, 1))))
    )
    for shown in (requests, k8strace.attribute(requests)):
        texts = Page(shown._repr_html_()).texts
        assert "1 long-running request, such as watches, left out." in texts
        assert "1.00 µs" in texts


# ── Readable ──────────────────────────────────────────────────────────────────────────────────────


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, as WCAG 2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio as WCAG 2 defines it, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("background", ["#ffffff", "#1e1e1e", "#111111", "#131416"])
def test_every_shade_stands_out_in_both_themes(background):
    """3 to 1 is what WCAG asks of graphics; white, and the dark grounds of VS Code, JupyterLab and our pages."""
    shades = [shade for each in (*palette.COMPONENTS.values(), *palette.FALLBACKS) for shade in each]
    assert [shade for shade in shades if contrast(shade, background) < 3] == []


def test_white_letters_are_readable_on_the_error_badge():
    """4.5 to 1 is what WCAG asks of text."""
    ground = re.search(r"background:(#\w{6})", waterfall._RED)[1]
    assert contrast("#ffffff", ground) >= 4.5


def test_components_differ_in_colour():
    """No shade stands for two components."""
    shades = [shade for each in (*palette.COMPONENTS.values(), *palette.FALLBACKS) for shade in each]
    assert len(shades) == len(set(shades))


def test_the_palette_knows_every_component_of_the_taxonomy():
    """The closed list of components, and no other; a user's own has a fallback that its name decides."""
    components = {rule.phase.partition(".")[0] for rule in k8strace.Taxonomy().rules} | {
        "kms",
        "unattributed",
    }
    assert components == set(palette.COMPONENTS)
    assert palette.component_colour("policy") in [shades[0] for shades in palette.FALLBACKS]
