"""Writes config/grafana/jingle-hnt.json, the Grafana board; --check tells whether it is current."""

import json
import sys
from pathlib import Path
from typing import Any

from scripts.generated import run

BOARD = Path(__file__).parent.parent / "config" / "grafana" / "jingle-hnt.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 8, 7
ONE = '{instance=~"$instance"}'

PANELS = (
    # title, kind, unit, then query and legend of each line
    ("Ready", "stat", "bool_yes_no", (f"jingle_hnt_ready{ONE}", "{{instance}}")),
    ("XMPP connection", "stat", "bool_on_off", (f"jingle_hnt_connected{ONE}", "{{instance}}")),
    ("Forwarding plane", "stat", "bool_on_off", (f"jingle_hnt_plane_up{ONE}", "{{instance}}")),
    ("Calls", "timeseries", "short", (f"sum by (state) (jingle_hnt_calls{ONE})", "{{state}}")),
    (
        "Calls ended, by why",
        "timeseries",
        "short",
        (
            f"sum by (why) (increase(jingle_hnt_calls_ended_total{ONE}[$__rate_interval]))",
            "{{why}}",
        ),
    ),
    (
        "Refused, by condition",
        "timeseries",
        "short",
        (
            f"sum by (condition) (increase(jingle_hnt_refused_total{ONE}[$__rate_interval]))",
            "{{condition}}",
        ),
    ),
    (
        "One-way calls of all accepted",
        "timeseries",
        "percentunit",
        (
            f"sum(increase(jingle_hnt_calls_one_way_total{ONE}[1h]))"
            f" / sum(increase(jingle_hnt_calls_accepted_total{ONE}[1h]))",
            "one way",
        ),
    ),
    (
        "From offer to accept",
        "timeseries",
        "s",
        *(
            (
                f"histogram_quantile({q}, sum by (le)"
                f" (rate(jingle_hnt_setup_seconds_bucket{ONE}[$__rate_interval])))",
                f"{q:.0%}",
            )
            for q in (0.5, 0.95)
        ),
    ),
    (
        "Time to latch",
        "timeseries",
        "s",
        *(
            (
                f"histogram_quantile({q}, sum by (le)"
                f" (rate(jingle_hnt_latch_seconds_bucket{ONE}[$__rate_interval])))",
                f"{q:.0%}",
            )
            for q in (0.5, 0.95)
        ),
    ),
    (
        "Latches, by source authentication",
        "timeseries",
        "short",
        (
            "sum by (source_auth, kind)"
            f" (increase(jingle_hnt_latches_total{ONE}[$__rate_interval]))",
            "{{source_auth}} {{kind}}",
        ),
    ),
    (
        "Packets",
        "timeseries",
        "pps",
        (
            "sum by (component, direction)"
            f" (rate(jingle_hnt_packets_total{ONE}[$__rate_interval]))",
            "{{component}} {{direction}}",
        ),
    ),
    (
        "Bandwidth",
        "timeseries",
        "bps",
        (
            f"8 * sum by (direction) (rate(jingle_hnt_bytes_total{ONE}[$__rate_interval]))",
            "{{direction}}",
        ),
    ),
    (
        "Dropped, by reason",
        "timeseries",
        "pps",
        (
            f"sum by (reason) (rate(jingle_hnt_dropped_packets_total{ONE}[$__rate_interval]))",
            "{{reason}}",
        ),
    ),
    ("Ports", "timeseries", "short", (f"sum by (state) (jingle_hnt_ports{ONE})", "{{state}}")),
    (
        "Rivalries and new planes",
        "timeseries",
        "short",
        (f"sum(increase(jingle_hnt_rivalries_total{ONE}[$__rate_interval]))", "rivalries"),
        (f"sum(increase(jingle_hnt_planes_total{ONE}[$__rate_interval]))", "planes"),
    ),
)


def board() -> dict[str, Any]:
    """The board as Grafana imports it."""
    query = {"query": "label_values(jingle_hnt_build_info, instance)", "refId": "instance"}
    return {
        "title": "jingle-hnt",
        "uid": "jingle-hnt",
        "schemaVersion": 38,
        "tags": ["xmpp", "jingle"],
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {
            "list": [
                {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "instance",
                    "label": "Instance",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": query,
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [_panel(number, *panel) for number, panel in enumerate(PANELS)],
    }


def _panel(
    number: int, title: str, kind: str, unit: str, *lines: tuple[str, str]
) -> dict[str, Any]:
    row, column = divmod(number, 24 // WIDTH)
    return {
        "id": number + 1,
        "title": title,
        "type": kind,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + at), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for at, (query, legend) in enumerate(lines)
        ],
    }


def main() -> int:
    """Write the board, or with --check tell whether it is out of date."""
    return run(
        __doc__, "python -m scripts.board", lambda: {BOARD: json.dumps(board(), indent=2) + "\n"}
    )


if __name__ == "__main__":
    sys.exit(main())
