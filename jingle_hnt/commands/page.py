"""The report of a day as one page of HTML: nothing is fetched, nothing runs, all is escaped."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from html import escape

from jingle_hnt import __version__
from jingle_hnt.admin import digest
from jingle_hnt.admin.digest import Count, Digest, Step
from jingle_hnt.admin.reports import CallReport

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BEST, LEAST = 4.5, 1.0

STYLE = """
:root{color-scheme:light dark;--ink:#1f2933;--dim:#5b6776;--line:#d5dae0;--page:#fff;--box:#f5f7fa;
--good:#2f855a;--bad:#c53030;--mid:#b7791f;--bar:#2563eb}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--dim:#9aa5b1;--line:#3e4c59;--page:#12181f;
--box:#1b232c;--good:#68d391;--bad:#fc8181;--mid:#f6ad55;--bar:#7aa2f7}}
*{box-sizing:border-box}body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--page);
color:var(--ink);font:16px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}p{margin:.3rem 0}
.dim{color:var(--dim)}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));
gap:.6rem;margin:1rem 0}
.tile{background:var(--box);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
.tile b{display:block;font-size:1.5rem;line-height:1.2}
.chart{display:flex;align-items:flex-end;gap:1px;height:7rem;border-bottom:1px solid var(--line)}
.chart i{flex:1 1 0;min-width:0;display:flex;flex-direction:column;justify-content:flex-end}
.chart i{height:100%}.chart u{display:block;text-decoration:none;background:var(--bar)}
.chart u.bad{background:var(--bad)}.chart u.mid{background:var(--mid)}
.chart u.good{background:var(--good)}
.axis{display:flex;font-size:.8rem;color:var(--dim)}.axis span{flex:1 1 0}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .4rem .25rem 0;
border-bottom:1px solid var(--line);vertical-align:top}td.n,th.n{text-align:right;
white-space:nowrap;font-variant-numeric:tabular-nums;padding-right:.6rem}td.w{width:40%}
td.w u{display:block;height:.7rem;background:var(--bar);text-decoration:none}
.halves{display:grid;gap:0 2rem;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr))}
.call{border:1px solid var(--line);border-left:4px solid var(--bad);border-radius:.4rem;
padding:.6rem .8rem;margin:.7rem 0}.call h3{font-size:1rem;margin:0}.call li{margin:.25rem 0}
.call ul{padding-left:1.1rem;margin:.4rem 0 0}summary{cursor:pointer}.wide{overflow-x:auto}
"""


def page(found: Digest, made: datetime) -> str:
    """The whole page; times are shown in the time zone of `made`."""
    return "\n".join(_page(found, made))


def _page(found: Digest, made: datetime) -> Iterator[str]:
    zone = made.tzinfo
    since, until = (f"{t.astimezone(zone):%Y-%m-%d %H:%M}" for t in (found.since, found.until))
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
    yield f"<title>Calls {escape(since)} to {escape(until)}</title><style>{STYLE}</style></head>"
    yield f'<body><h1>Calls</h1><p class="dim">{escape(since)} to {escape(until)}, made'
    yield f"{made:%Y-%m-%d %H:%M %Z} by jingle-hnt {escape(__version__)}</p>"
    yield from _tiles(found)
    if found.calls or found.refused:
        yield from _over_time(found, made)
    yield '<div class="halves">'
    yield from _counts("How they were set up", "path", found.paths, "contents", scored=True)
    yield from _counts(
        "How sources were authenticated",
        "authenticated by",
        found.source_auths,
        "parties",
        scored=True,
    )
    yield from _counts("Why they ended", "why", found.ends)
    yield from _counts("What was wrong", "cause", found.causes)
    yield from _counts("Why calls were refused", "obstacle", found.obstacles)
    yield "</div>"
    yield from _worst(found, made)
    yield from _refusals(found, made)
    yield "</body></html>"


def _tiles(found: Digest) -> Iterator[str]:
    yield '<div class="tiles">'
    yield _tile("calls", str(found.calls))
    yield _tile("answered", str(found.accepted))
    yield _tile("in trouble", str(found.bad))
    yield _tile("one way", str(found.one_way))
    yield _tile("refused", str(found.refused))
    yield _tile("hours of talk", f"{found.talked_s / 3600:.1f}")
    if found.duration_s is not None:
        yield _tile("half are longer than", _span(found.duration_s))
    if found.setup_s is not None:
        middle, slow = found.setup_s
        yield _tile("from offer to answer", f"{middle:.1f} s")
        yield _tile("1 of 20 takes longer", f"{slow:.1f} s")
    if found.score is not None:
        yield _tile("median score (1 to 4.5)", f"{found.score:.1f}")
    yield "</div>"


def _tile(text: str, value: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span class="dim">{escape(text)}</span></div>'


def _over_time(found: Digest, made: datetime) -> Iterator[str]:
    steps, zone = found.steps, made.tzinfo
    hours = found.step_s / 3600
    each = "hour" if hours == 1 else f"{hours:.0f} hours"
    most = max([1, *(step.calls for step in steps)])
    yield f"<h2>Calls in each {each}</h2>"
    yield f'<p class="dim">At most {most}; those in trouble are red.</p>'
    yield f'<div class="chart" role="img" aria-label="calls in each {each}, at most {most}">'
    for step in steps:
        well = 100 * (step.calls - step.bad) / most
        yield f'<i title="{_when(step, made)}: {step.calls} calls, {step.bad} in trouble">'
        yield f'<u style="height:{well:.1f}%"></u>'
        yield f'<u class="bad" style="height:{100 * step.bad / most:.1f}%"></u></i>'
    yield "</div>" + _axis(steps, made)
    yield "<h2>How they sounded</h2>"
    yield '<p class="dim">The median of the estimated score; 4.5 is best, below 3 is bad.</p>'
    yield '<div class="chart" role="img" aria-label="median score over time">'
    for step in steps:
        if step.score is None:
            yield "<i></i>"
            continue
        kind = "bad" if step.score < digest.POOR else "mid" if step.score < 3.8 else "good"
        height = 100 * (step.score - LEAST) / (BEST - LEAST)
        yield f'<i title="{_when(step, made)}: {step.score:.1f}">'
        yield f'<u class="{kind}" style="height:{max(2.0, height):.1f}%"></u></i>'
    yield "</div>" + _axis(steps, made)
    yield "<details><summary>In figures</summary><div class=wide><table><tr><th>from</th>"
    for name in ("calls", "trouble", "refused", "score", "worst tenth", "loss", "jitter"):
        yield f'<th class="n">{name}</th>'
    yield "</tr>"
    for step in steps:
        figures = (
            str(step.calls),
            str(step.bad),
            str(step.refused),
            "-" if step.score is None else f"{step.score:.1f}",
            "-" if step.poor is None else f"{step.poor:.1f}",
            f"{step.loss:.1%}",
            f"{step.jitter_ms:.0f} ms",
        )
        cells = "".join(f'<td class="n">{figure}</td>' for figure in figures)
        yield f"<tr><td>{step.start.astimezone(zone):%d %b %H:%M}</td>{cells}</tr>"
    yield "</table></div></details>"


def _when(step: Step, made: datetime) -> str:
    return f"{step.start.astimezone(made.tzinfo):%d %b %H:%M}"


def _axis(steps: tuple[Step, ...], made: datetime) -> str:
    marks = [steps[len(steps) * part // 4] for part in range(4)] if len(steps) >= 4 else [*steps]
    is_short = steps[-1].start - steps[0].start < timedelta(hours=25)
    form = "%H:%M" if is_short else "%d %b %H:%M"
    spans = "".join(f"<span>{s.start.astimezone(made.tzinfo):{form}}</span>" for s in marks)
    return f'<div class="axis">{spans}</div>'


def _counts(
    title: str, what: str, counts: tuple[Count, ...], of: str = "calls", scored: bool = False
) -> Iterator[str]:
    if not counts:
        return
    most = counts[0].count
    yield f"<section><h2>{escape(title)}</h2><table><tr><th>{escape(what)}</th>"
    yield f'<th class="n">{of}</th>{"<th class=n>score</th>" if scored else ""}<th></th></tr>'
    for each in counts:
        width = 100 * each.count / most
        yield f'<tr><td>{escape(each.name)}</td><td class="n">{each.count}</td>'
        if scored:
            yield f'<td class="n">{"-" if each.score is None else f"{each.score:.1f}"}</td>'
        yield f'<td class="w"><u style="width:{width:.1f}%"></u></td></tr>'
    yield "</table></section>"


def _worst(found: Digest, made: datetime) -> Iterator[str]:
    if not found.worst:
        return
    yield f"<h2>The worst calls</h2><p class=dim>{len(found.worst)} of {found.bad} in trouble.</p>"
    for report in found.worst:
        yield from _call(report, made)


def _call(report: CallReport, made: datetime) -> Iterator[str]:
    call = report.call
    started = f"{datetime.fromisoformat(report.started).astimezone(made.tzinfo):%Y-%m-%d %H:%M:%S}"
    score = digest.score(report)
    told = [started, _span(report.duration_s), report.why]
    told += [] if score is None else [f"score {score:.1f}"]
    yield f'<div class="call"><h3>{escape(call.initiator)} &rarr; {escape(call.responder)}</h3>'
    yield f'<p class="dim">{escape(", ".join(told))}; <code>{escape(call.call)}</code></p><ul>'
    for finding in report.diagnosis:
        advice = f'<span class="dim">{escape(finding.advice)}.</span>'
        yield f"<li>{escape(finding.text)}.<br>{advice}</li>"
    if not report.diagnosis and score is not None:
        yield "<li>It sounded bad: see loss and jitter of its parties' networks.</li>"
    yield "</ul></div>"


def _refusals(found: Digest, made: datetime) -> Iterator[str]:
    if not found.refusals:
        return
    yield "<h2>Calls that were refused, or not relayed</h2><div class=wide><table>"
    yield '<tr><th>caller</th><th>callee</th><th class="n">times</th><th>last</th><th>why</th></tr>'
    for call in found.refusals:
        last = f"{datetime.fromisoformat(call.last).astimezone(made.tzinfo):%d %b %H:%M}"
        yield f"<tr><td>{escape(call.caller)}</td><td>{escape(call.callee)}</td>"
        yield f'<td class="n">{call.count}</td><td>{last}</td><td>{escape(call.text)}</td></tr>'
    yield "</table></div>"


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"


def text(found: Digest, made: datetime) -> Iterator[str]:
    """The report in lines, for a terminal or a mail."""
    since, until = (
        f"{t.astimezone(made.tzinfo):%Y-%m-%d %H:%M}" for t in (found.since, found.until)
    )
    yield f"calls from {since} to {until}: {found.calls}"
    yield f"  answered {found.accepted}, in trouble {found.bad}, one way {found.one_way}"
    yield f"  refused or not relayed {found.refused}, hours of talk {found.talked_s / 3600:.1f}"
    if found.setup_s is not None:
        yield "  from offer to answer {:.1f} s, 1 of 20 over {:.0f} s".format(*found.setup_s)
    if found.score is not None:
        yield f"  median score {found.score:.1f}"
    for title, counts in (
        ("set up by", found.paths),
        ("authenticated by", found.source_auths),
        ("ended by", found.ends),
        ("wrong", found.causes),
        ("refused for", found.obstacles),
    ):
        yield from _text_counts(title, counts)
    for report in found.worst:
        call = report.call
        yield ""
        yield f"{call.initiator} called {call.responder}, {_span(report.duration_s)} ({call.call})"
        for finding in report.diagnosis:
            yield f"* {finding.text}."
            yield f"  {finding.advice}."


def _text_counts(title: str, counts: Iterable[Count]) -> Iterator[str]:
    for number, each in enumerate(counts):
        score = "" if each.score is None else f", score {each.score:.1f}"
        yield f"{'' if number else title:20} {each.count:6} {each.name}{score}"
