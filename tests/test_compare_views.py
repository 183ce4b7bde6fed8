"""What people read of a comparison is what the integers say: Markdown and HTML, read by parsers that are not ours."""

from __future__ import annotations

import re
from fractions import Fraction
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

import k8strace
from k8strace.compare.result import Comparison, DifferenceRow
from k8strace.views.comparison import comparison_html, comparison_markdown
from k8strace.views.notebook import html_of

OLD, NEW = (f"tests/data/k8s-{name}.otlp.zst" for name in ("1.27_etcd-3.5", "1.36_etcd-3.6"))
UNITS = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9}
NUMBER = re.compile(r"([+-]?)(\d+(?:\.(\d+))?) (ns|µs|ms|s)")


class Tables(HTMLParser):
    """Texts of tables by row, styles of elements, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.styles: list[str] = []
        self.labels: list[str] = []
        self.text = ""
        self._details = 0
        self._in_cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self._details += tag == "details"
        if self._details:  # requests that show a row: they have tables of their own
            return
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True
        if known.get("role") == "img":
            self.labels.append(known["aria-label"])
        if "width" in known.get("style", "") and "opacity" in known["style"]:
            self.styles.append(known["style"])

    def handle_endtag(self, tag):
        self._details -= tag == "details"
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self._in_cell and not self._details:
            self.tables[-1][-1][-1] += data


def is_shown(text: str, ns: int) -> bool:
    """`text` is `ns`, rounded to its last digit: "+7.94 ms" is 7,935,000 to 7,945,000."""
    found = NUMBER.fullmatch(text.strip())
    if not found:
        return text.strip() == "0" and ns == 0
    sign, digits, decimals, unit = found.groups()
    half = Fraction(UNITS[unit], 2 * 10 ** len(decimals or ""))
    value = Fraction(digits) * UNITS[unit] * (-1 if sign == "-" else 1)
    return abs(value - ns) <= half and (sign == "+") == (ns > 0)


@pytest.fixture(scope="module")
def changed() -> Comparison:
    """Lists: the mean and the p99 rose."""
    sides = [k8strace.join(k8strace.read(path)).where(verb="list") for path in (OLD, NEW)]
    return k8strace.compare(*sides)


def agree(rows: list[list[str]], told: tuple[DifferenceRow, ...], interval_at: int) -> None:
    """Each row of a table is that of the result, in order: part, change, interval, verdict."""
    assert len(rows) == len(told) > 3
    for cells, row in zip(rows, told, strict=True):
        assert cells[0] == row.part
        assert is_shown(cells[1], row.delta_ns), (cells, row)
        low, high = cells[interval_at].split(" … ")
        assert is_shown(low, row.low_ns), (cells, row)
        assert is_shown(high, row.high_ns), (cells, row)
        assert cells[interval_at + 1] == row.verdict


def test_a_number_that_is_not_the_integers_would_be_seen():
    assert is_shown("+7.94 ms", 7_941_234)
    assert not is_shown("+7.94 ms", 7_951_234)
    assert not is_shown("+7.94 ms", -7_941_234)
    assert not is_shown("+7.94 µs", 7_941_234)
    assert is_shown("-450 ns", -450)


def test_tables_in_markdown_are_the_rows(changed):
    """By the rules of tables that GitHub has."""
    page = Tables(MarkdownIt("commonmark").enable("table").render(comparison_markdown(changed)))
    summaries = [rows for rows in page.tables if rows[0][0].startswith("Part of the")]
    assert [rows[0][0] for rows in summaries] == [f"Part of the {each.name}" for each in changed]
    for rows, difference in zip(summaries, changed, strict=True):
        agree(rows[1:], difference.summary, 2)
        assert sum(row.delta_ns for row in difference.summary) == difference.delta_ns


def test_tables_and_bars_in_a_notebook_are_the_rows(changed):
    """A bar is as long as its part: half of the box is the largest; to the left what fell, to the right what rose."""
    page = Tables(comparison_html(changed))
    assert len(page.tables) == len(changed)
    bars = iter(page.styles)
    for rows, difference in zip(page.tables, changed, strict=True):
        agree(rows[1:], difference.summary, 3)
        most = max(abs(row.delta_ns) for row in difference.summary)
        for row in difference.summary:
            left, width = (float(each) for each in re.findall(r"(?:left|width):([\d.]+)%", next(bars)))
            assert width == pytest.approx(50 * abs(row.delta_ns) / most, abs=0.01)
            assert left == pytest.approx(50 - width if row.delta_ns < 0 else 50, abs=0.011)
    assert next(bars, None) is None


def test_the_sentence_has_the_difference_and_its_error(changed):
    text = Tables(comparison_html(changed)).text
    mean = changed.mean
    said = re.search(r"mean (rose|fell) by (\S+ \S+) ± (\S+ \S+), from (\S+ \S+) to (\S+ \S+?):", text)
    assert said, text
    assert said[1] == mean.verdict
    assert is_shown(f"+{said[2]}", mean.delta_ns)
    assert is_shown(f"+{said[3]}", (mean.high_ns - mean.low_ns) // 2)
    assert is_shown(f"+{said[4]}", mean.before_ns)
    assert is_shown(f"+{said[5]}", mean.after_ns)


def test_two_requests_that_show_a_row_are_opened_side_by_side(changed):
    html = comparison_html(changed)
    shown = [difference for difference in changed if difference.told]
    assert html.count("one request before and one after") == len(shown) > 0
    for difference in shown:
        for request in changed.exemplars(difference.at, difference.told[0]):
            assert html_of(request) in html
