"""The page of a comparison: its numbers are the comparison's, and both populations are in it."""

from pathlib import Path

import browsing
import pytest

import k8strace

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def sides():
    return [
        k8strace.join(k8strace.read(DATA / name)).where(verb=("get", "list", "update", "create"))
        for name in ("k8s-1.31_etcd-3.5.otlp.zst", "k8s-1.36_etcd-3.6.otlp.zst")
    ]


@pytest.fixture(scope="module")
def comparison(sides):
    return k8strace.compare(*sides)


@pytest.fixture(scope="module")
def file(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "changed.html"
    comparison.to_html(path)
    return path


@pytest.fixture(scope="module")
def browser():
    with browsing.chromium() as started:
        yield started


@pytest.mark.slow
def test_equal_comparisons_give_equal_bytes(comparison, file):
    assert comparison.to_html() == file.read_text()


@pytest.mark.slow
def test_every_difference_is_the_sum_of_its_parts(browser, file, comparison):
    page = browsing.opened(browser, file.as_uri(), java_script_enabled=False)
    for difference in comparison:
        table = page.get_by_role("table", name=f"Parts of the {difference.name}")
        told = [int(each.get_attribute("value")) for each in table.locator("tbody data").all()]
        assert sum(told) == browsing.number(page, f'[id="delta-{difference.name}"]') == difference.delta_ns
        assert told == [row.delta_ns for row in difference.summary]


@pytest.mark.slow
def test_both_populations_are_shown_and_two_requests_side_by_side(browser, file, comparison, sides):
    page = browsing.opened(browser, file.as_uri(), bypass_csp=True)
    for name, side in (("after", sides[1]), ("before", sides[0]), ("after", sides[1])):
        page.get_by_role("button", name=name, exact=True).click()
        assert browsing.number(page, "#total") == k8strace.attribute(side).by()[0].all.wall_ns
    page.get_by_role("button", name="side by side").first.click()
    page.get_by_role("tree").nth(1).wait_for()
    assert page.get_by_role("tree").count() == 2
    assert page.locator("#request article h3 .badge").all_text_contents() == ["after", "before"]
    ids = page.locator("#request article code").all_text_contents()
    found = comparison.exemplars("mean", comparison.mean.summary[0])
    assert ids == [found[1].trace_id, found[0].trace_id]
    again = browsing.opened(browser, page.url)
    again.get_by_role("tree").nth(1).wait_for()
    assert browsing.violations(page) == []
    assert page.said == again.said == []
