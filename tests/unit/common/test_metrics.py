"""What a scrape says of the calls that were made."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.common.codes import Code
from services.common.metrics import Metrics


def scraped(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return the samples of the method `/a/B` by name and other labels, as a scraper reads them."""
    page = generate_latest(metrics.registry).decode()
    return {
        (sample.name, *(text for label, text in sample.labels.items() if label != "method")): (
            sample.value
        )
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels.get("method") == "/a/B"
    }


def test_a_method_that_was_never_called_is_there_with_zeros():
    metrics = Metrics("user")
    metrics.method("/a/B")
    found = scraped(metrics)
    assert found[("parley_rpc_in_flight",)] == 0
    assert found[("parley_rpc_seconds_count",)] == 0


def test_calls_are_counted_by_code_and_while_they_last():
    metrics = Metrics("user")
    method = metrics.method("/a/B")
    for code in (Code.OK, Code.OK, Code.NOT_FOUND):
        method.started()
        method.ended(code, 0.1)
    method.started()
    found = scraped(metrics)
    assert found["parley_rpc_handled_total", "OK"] == 2
    assert found["parley_rpc_handled_total", "NOT_FOUND"] == 1
    assert found[("parley_rpc_in_flight",)] == 1


def test_a_bucket_holds_all_calls_up_to_its_bound_the_bound_included():
    metrics = Metrics("user")
    method = metrics.method("/a/B")
    for seconds in (0.0005, 0.001, 0.0011, 120.0, 500.0):
        method.started()
        method.ended(Code.OK, seconds)
    found = scraped(metrics)
    assert found["parley_rpc_seconds_bucket", "0.001"] == 2
    assert found["parley_rpc_seconds_bucket", "0.0025"] == 3
    assert found["parley_rpc_seconds_bucket", "120.0"] == 4
    assert found["parley_rpc_seconds_bucket", "+Inf"] == 5
    assert found[("parley_rpc_seconds_count",)] == 5
    assert abs(found[("parley_rpc_seconds_sum",)] - 620.0026) < 1e-9


def test_asking_for_a_method_twice_gives_the_same_counts():
    metrics = Metrics("user")
    assert metrics.method("/a/B") is metrics.method("/a/B")
