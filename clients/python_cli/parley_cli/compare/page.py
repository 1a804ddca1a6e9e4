"""A comparison as one HTML page, which plays both sides. Pure: text in, text out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from parley_cli.compare.results import Run, Sample, Summary
from parley_cli.compare.words import aligned, words_of

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; }
tr + tr { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
ins { background: #2a88; text-decoration: none; } del { background: #c448; }
th:first-child, td:first-child { white-space: nowrap; } .wide { overflow-x: auto; }
.sums tr:first-child td { font-weight: 600; }
audio { height: 2rem; max-width: 16rem; } .failed { color: #c33; } .small { opacity: .7; }
"""


def page(
    summaries: Sequence[Summary], samples: Sequence[Sample], runs: Sequence[Run], folder: Path
) -> str:
    """Return the page. Sound is linked from ``folder``, where the page will lie."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>Parley: engines compared</title><style>{_STYLE}</style>",
        "<h1>Engines compared</h1>",
        _table(summaries),
    ]
    for sample in samples:
        parts.append(f"<h2>{escape(sample.name)}</h2>{_audio(sample.path, folder)}")
        if sample.said:
            parts.append(f"<p class=small>Said: {escape(sample.said)}</p>")
        parts.append(
            "<div class=wide><table><tr><th>engine<th>heard<th>answered<th class=n>silence</tr>"
        )
        parts += [_row(run, folder) for run in runs if run.sample is sample]
        parts.append("</table></div>")
    return "\n".join(parts) + "</html>\n"


def _table(summaries: Sequence[Summary]) -> str:
    """Return the sums, an engine a column."""
    rows = [
        ("", [escape(each.engine) for each in summaries]),
        ("answered", [f"{each.answered}/{each.runs}" for each in summaries]),
    ]
    if any(each.stood_in for each in summaries):
        rows.append(("by others", [str(each.stood_in) for each in summaries]))
    rows.append(("words wrong", [_percent(each.word_error_rate) for each in summaries]))
    if any(each.stored_error_rate is not None for each in summaries):
        rows.append(("as stored", [_percent(each.stored_error_rate) for each in summaries]))
    rows.append(("silence", [_ms(each.silence_ms) for each in summaries]))
    for name in dict.fromkeys(name for each in summaries for name in each.stages_ms):
        parts = [_ms(each.stages_ms.get(name)) for each in summaries]
        rows.append((name.replace("_", " "), parts))
    rows.append(("100 turns", [_dollars(each.cost) for each in summaries]))
    lines = "".join(
        f"<tr><th>{name}{''.join(f'<td class=n>{cell}' for cell in cells)}</tr>"
        for name, cells in rows
    )
    return (
        f"<div class=wide><table class=sums>{lines}</table></div>"
        "<p class=small>Times are medians in milliseconds, and those below silence are its parts; "
        "costs are estimates.</p>"
    )


def _row(run: Run, folder: Path) -> str:
    heard = _marked(run.sample.said, run.heard)
    if run.stored != run.heard:
        heard += f"<br><span class=small>stored:</span> {_marked(run.sample.said, run.stored)}"
    answer = f"<span class=failed>{escape(run.failure)}</span>" if run.failure else ""
    if not run.failure:
        sound = _audio(run.reply_path, folder) if run.reply_path else ""
        answer = f"{escape(run.reply)}<br>{sound}"
    if run.stood_in:
        answer += f"<br><span class=small>{escape(run.stood_in)}</span>"
    silence = _ms(run.silence_ms)
    return f"<tr><td>{escape(run.engine)}<td>{heard}<td>{answer}<td class=n>{silence}</tr>"


def _marked(said: str, heard: str) -> str:
    """Return what was heard; where it is known what was said, with the differences marked."""
    if not said:
        return escape(heard)
    words = []
    for pair in aligned(words_of(said), words_of(heard)):
        if pair.is_right:
            words.append(escape(pair.heard or ""))
        else:
            if pair.said is not None:
                words.append(f"<del>{escape(pair.said)}</del>")
            if pair.heard is not None:
                words.append(f"<ins>{escape(pair.heard)}</ins>")
    return " ".join(words)


def _audio(path: Path, folder: Path) -> str:
    link = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return f"<audio controls preload=none src='{escape(link, quote=True)}'></audio>"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _dollars(cost: float | None) -> str:
    return "" if cost is None else f"${cost:.3f}"
