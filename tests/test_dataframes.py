"""Tables meet in the libraries that people use: by ids, by times, by attributes; each library against plain Python."""

from __future__ import annotations

from collections import Counter

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import k8strace


@pytest.fixture(scope="module")
def requests(capture_136):
    return k8strace.join(k8strace.read(capture_136))


@pytest.fixture(scope="module")
def spans(requests):
    return requests.spans.with_attributes("http.target")


@pytest.fixture(scope="module")
def in_traces(requests):
    """Rows of the join of spans and requests by trace id."""
    traces = Counter(requests.spans["trace_id"].to_pylist())
    return sum(traces[trace] for trace in requests.column("trace_id"))


@pytest.fixture(scope="module")
def targets(requests):
    """Value of an attribute → spans; None is one of them."""
    return Counter(requests.spans.attributes("http.target").to_pylist())


def test_polars(requests, spans, in_traces, targets):
    left, right = spans.to_polars(), requests.to_polars()
    assert left.join(right, on="trace_id").height == in_traces
    lasted = (right["end_time"] - right["start_time"]).dt.total_nanoseconds()
    assert lasted.to_list() == requests.column("wall_ns").to_pylist()
    assert (left["end_time_unix_nano"] - left["start_time_unix_nano"]).min() >= 0
    assert (right["prelude_ns"] - right["wall_ns"]).min() < 0, "they do not wrap"
    assert dict(left.group_by("attributes.http.target").len().iter_rows()) == targets


def test_pandas(requests, spans, in_traces, targets):
    left, right = spans.to_pandas(), requests.to_pandas()
    assert len(left.merge(right, on="trace_id")) == in_traces
    lasted = (right["end_time"] - right["start_time"]).astype("int64")
    assert lasted.tolist() == requests.column("wall_ns").to_pylist()
    assert right["outer_request"].dtype == right["wall_ns"].dtype == "Int64", "nulls make no floats"
    assert left["attributes.http.target"].value_counts(dropna=False).sum() == sum(targets.values())


def test_pyarrow(requests, spans, in_traces, targets, tmp_path):
    left, right = spans.to_arrow(), requests.to_arrow()
    flat = left.select(["trace_id", "attributes.http.target", "start_time"])
    assert (
        flat.join(right.select(["trace_id", "request"]), "trace_id", join_type="inner").num_rows == in_traces
    )
    lasted = pc.subtract(right["end_time"], right["start_time"]).cast(pa.int64())
    assert lasted.to_pylist() == requests.column("wall_ns").to_pylist()
    grouped = flat.group_by("attributes.http.target").aggregate([([], "count_all")])
    assert dict(zip(*(column.to_pylist() for column in grouped.columns), strict=True)) == targets
    assert left.filter(pc.equal(left["kind"], 2)).num_rows == spans["kind"].to_pylist().count(2)
    assert left.sort_by([("trace_state", "ascending"), ("start_time", "ascending")]).num_rows == len(spans)
    assert left.take([3, 1])["span_id"].to_pylist() == [spans[3]["span_id"], spans[1]["span_id"]]
    pq.write_table(left, tmp_path / "spans.parquet")
    assert pq.read_table(tmp_path / "spans.parquet").equals(left)


def test_duckdb(requests, spans, in_traces, targets):  # noqa: ARG001 - DuckDB finds spans by its name
    calls = requests.etcd_calls
    assert duckdb.sql("select count(*) from spans join requests using (trace_id)").fetchall() == [
        (in_traces,)
    ]
    lasted = duckdb.sql("select epoch_ns(end_time) - epoch_ns(start_time) from requests").fetchall()
    assert [ns for (ns,) in lasted] == requests.column("wall_ns").to_pylist()
    grouped = duckdb.sql('select "attributes.http.target", count(*) from spans group by all').fetchall()
    assert dict(grouped) == targets
    joined = duckdb.sql("select count(*) from calls join spans using (trace_id, span_id)").fetchall()
    assert joined == [(len(calls),)]


def test_a_table_has_columns_rows_and_slices(requests):
    calls = requests.etcd_calls
    assert calls["method"][0] == calls[0]["method"] == next(iter(calls))["method"]
    assert [row["span_id"] for row in calls[5:8]] == calls["span_id"].to_pylist()[5:8]
    with pytest.raises(KeyError, match=r"no column 'methods', but request, role, trace_id"):
        calls["methods"]
    with pytest.raises(IndexError):
        calls[len(calls)]
    assert "<table" in calls._repr_html_()
    assert pl.DataFrame(calls[:0]).height == 0


def test_a_column_by_itself_is_that_of_the_frame(requests, spans):
    """In every type that there is, of everything, of a selection, and of a table."""
    for table in (requests, requests.slowest(300), requests.spans, requests.etcd_calls, spans):
        whole, frame = pa.table(table), pl.DataFrame(table)
        for name in whole.schema.names:
            column = table[name]
            assert pa.array(column).equals(whole[name].combine_chunks()), name
            assert pl.Series(column).equals(frame[name]), name
            assert (len(column), column.null_count) == (len(whole[name]), whole[name].null_count), name


def test_a_column_of_a_selection_is_that_of_its_rows(requests):
    chosen = requests.where(verb="list").slowest()
    whole, rows = pl.DataFrame(requests), [request.index for request in chosen]
    for name in whole.columns:
        assert pl.Series(chosen[name]).equals(whole[name][rows]), name
    classes = [None if code is None else f"{code // 100}xx" for code in whole["http_status"][rows]]
    assert list(chosen["status"]) == classes


def test_a_column_that_was_added_keeps_its_values(requests):
    many = len(requests)
    for values in (["a", None], [1, 2], [True, None], [0.5, None], [None, None], [1, "b"]):
        given = (values * many)[:many]
        added = requests.with_column("extra", given)
        expected = given if values != [1, "b"] else [str(value) for value in given]
        assert added["extra"].to_pylist() == expected
        assert list(added[7:3:-1]["extra"]) == expected[7:3:-1]
    assert list(requests["resource.service.name"]) == ["apiserver"] * many


def test_numpy_has_numbers_as_they_are_and_null_as_none(requests):
    """To the nanosecond, where a float would round; lists stay lists."""
    whole = pa.table(requests)
    for name, kind in (("start_unix_nano", "int64"), ("long_running", "bool"), ("caller_ns", "object")):
        array = np.array(requests[name])
        assert (array.dtype, array.tolist()) == (np.dtype(kind), whole[name].to_pylist()), name
    assert np.asarray(requests["namespace"]).tolist() == whole["namespace"].to_pylist()
    assert np.isnan(np.array(requests["caller_ns"], float)).sum() == whole["caller_ns"].null_count > 0
    assert np.array(requests.findings()["share"]).dtype == np.dtype("float64")
    assert np.array(requests.spans["links"]).shape == (len(requests.spans),)
    assert np.array(requests[:0]["wall_ns"]).tolist() == []
    with pytest.raises(ValueError, match="copy=True or None"):
        requests["wall_ns"].__array__(copy=False)


def test_pandas_takes_a_column(requests):
    assert pd.Series(requests["wall_ns"]).sum() == pc.sum(pa.table(requests)["wall_ns"]).as_py()
    assert pd.Series(requests["caller_ns"]).isna().sum() == requests["caller_ns"].null_count


def test_a_column_has_values_and_slices(requests):
    column = requests["verb"]
    values = column.to_pylist()
    assert [*column] == [column[at] for at in range(len(column))] == values
    assert (column[-1], [*column[5:2:-1]], [*column.take([3, 3])]) == (
        values[-1],
        values[5:2:-1],
        [values[3]] * 2,
    )
    assert "list" in column
    assert "lists" not in column
    with pytest.raises(IndexError):
        column[len(column)]
    for outside in (len(column), -1):
        with pytest.raises(IndexError, match=f"row {outside} of {len(column)}"):
            column.take([outside])
        with pytest.raises(IndexError, match=f"row {outside} of {len(column)}"):
            requests._joined.table.take([outside])
