"""The files under deploy/ against the labeler's metrics."""

import json
import re
from pathlib import Path

import yaml
from prometheus_client import Counter as Count
from prometheus_client import Gauge, Histogram, Info

from labeler_service import metrics

DEPLOY = Path(__file__).parents[1] / "deploy"
SUFFIXES = {Count: ["_total"], Gauge: [""], Histogram: ["_bucket", "_sum", "_count"], Info: ["_info"]}
# Of the histograms, and those that Prometheus adds.
COMMON_LABELS = {"le", "instance", "job"}


def collectors() -> list[Count | Gauge | Histogram | Info]:
    return [value for value in vars(metrics).values() if isinstance(value, tuple(SUFFIXES))]


def labels_by_series() -> dict[str, set[str]]:
    """The labels of each series that the labeler has, process_* included."""
    series = {
        collector._name + suffix: {*collector._labelnames}
        for collector in collectors()
        for suffix in SUFFIXES[type(collector)]
    }
    return {sample.name: set() for family in metrics.REGISTRY.collect() for sample in family.samples} | series


def dashboard_queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana/clip-labeler.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def alert_queries() -> list[str]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def names(query: str) -> set[str]:
    return set(re.findall(r"\b(?:clip_labeler|process)_\w+", query))


def test_queries_ask_for_what_there_is() -> None:
    """A panel or alert of a metric that was renamed is silently empty for good."""
    known = labels_by_series()
    for query in dashboard_queries() + alert_queries():
        assert names(query), query
        assert names(query) <= known.keys(), query
        grouped = {label for labels in re.findall(r"(?:by|on) \(([^)]*)\)", query) for label in labels.split(", ")}
        selected = set(re.findall(r"[{,]\s*(\w+)\s*[=!]", query))
        assert grouped | selected <= COMMON_LABELS.union(*(known[name] for name in names(query))), query


def test_the_dashboard_shows_every_metric() -> None:
    shown = set().union(*map(names, dashboard_queries()))
    for collector in collectors():
        assert any(collector._name + suffix in shown for suffix in SUFFIXES[type(collector)]), collector._name


def test_panels_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "grafana/clip-labeler.json").read_text())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_alerts_say_what_to_do() -> None:
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
            assert rule["annotations"].keys() == {"summary", "description"}
