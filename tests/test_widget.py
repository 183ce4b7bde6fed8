"""The page in a notebook: the widget draws the library's sums, and is readable where no widget is drawn."""

import asyncio
from importlib.resources import files
from pathlib import Path

import browsing
import pytest

import k8strace

pytest.importorskip("anywidget")
CAPTURE = Path(__file__).parent / "data/k8s-1.36_etcd-3.6.otlp.zst"
HOST = """<!doctype html><meta charset="utf-8"><title>notebook</title><style>{css}</style><main id="cell"></main>
<script type="module">
import widget from "./page.js";
const data = await (await fetch("./data")).text();
widget.render({{ model: {{ get: () => data }}, el: document.getElementById("cell") }});
</script>"""


@pytest.fixture(scope="module")
def requests():
    return k8strace.join(k8strace.read(CAPTURE)).where(verb=("create", "update"))


@pytest.fixture
def shown(requests):
    yield requests.widget()
    asyncio.set_event_loop(None)


def test_it_is_the_module_that_draws_the_file(shown):
    assert shown._esm == (files("k8strace.page") / "page.js").read_text()
    assert shown._css == (files("k8strace.page") / "page.css").read_text()


def test_where_no_widget_is_drawn_the_static_view_is_there(shown, requests):
    bundle, *_ = shown._repr_mimebundle_()
    assert bundle["text/html"] == requests._repr_html_()
    assert "application/vnd.jupyter.widget-view+json" in bundle


@pytest.mark.slow
def test_it_draws_the_librarys_sums_and_leaves_the_address_alone(shown, requests):
    answers = {
        "/": ("text/html", HOST.format(css=shown._css)),
        "/page.js": ("text/javascript", shown._esm),
        "/data": ("text/plain", shown.data),
    }
    with browsing.chromium() as browser:
        page = browser.new_page()
        page.route(
            "**/*",
            lambda route: route.fulfill(
                **dict(
                    zip(("content_type", "body"), answers["/" + route.request.url.split("/")[3]], strict=True)
                )
            ),
        )
        page.goto("http://notebook.test/")
        page.wait_for_selector("[data-ready]", timeout=30_000)
        group = k8strace.attribute(requests).by()[0].all
        assert browsing.number(page, "#total") == group.wall_ns
        page.locator("#requests button.link").first.click()
        page.get_by_role("tree").wait_for()
        assert page.url == "http://notebook.test/"
