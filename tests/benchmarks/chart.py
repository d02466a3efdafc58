"""Draws measurements as horizontal bars, panel by panel, in one SVG; knows nothing of what was measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABELS, FIGURES, ROW, HEAD, MARGIN = 1120, 250, 460, 30, 46, 28
STYLE = """
text{font:13px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2a37}
.title{font-size:20px;font-weight:600}.panel{font-size:15px;font-weight:600}.quiet{fill:#6b7785;font-size:12px}
.ours{fill:#2f6fbb}.bare{fill:#c3ccd6}.figure{font-variant-numeric:tabular-nums}
"""


@dataclass(frozen=True)
class Bar:
    """One measurement, and the same of a function that does nothing where there is one."""

    label: str
    value: float
    unit: str
    bare: float | None = None
    told: str = ""


def chart(title: str, told: str, panels: Mapping[str, Sequence[Bar]]) -> str:
    """Return an SVG document."""
    height = 84 + sum(HEAD + ROW * len(bars) for bars in panels.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
        text(MARGIN, 38, title, "title"),
        text(MARGIN, 60, told, "quiet"),
    ]
    top = 72.0
    for name, bars in panels.items():
        parts.append(text(MARGIN, top + 28, name, "panel"))
        parts.extend(drawn(bars, top + HEAD))
        top += HEAD + ROW * len(bars)
    return "\n".join([*parts, "</svg>\n"])


def drawn(bars: Sequence[Bar], top: float) -> Iterator[str]:
    longest = max(max(bar.value, bar.bare or 0.0) for bar in bars) or 1.0
    room = WIDTH - LABELS - FIGURES - MARGIN
    for number, bar in enumerate(bars):
        y = top + number * ROW
        yield text(MARGIN, y + 15, bar.label)
        length = room * bar.value / longest
        yield f'<rect class="ours" x="{LABELS}" y="{y + 2:.0f}" width="{max(1.0, length):.1f}" height="14" rx="2"/>'
        if bar.bare is not None:
            bare = room * bar.bare / longest
            yield f'<rect class="bare" x="{LABELS}" y="{y + 17:.0f}" width="{max(1.0, bare):.1f}" height="5" rx="2"/>'
            length = max(length, bare)
        yield text(LABELS + length + 8, y + 15, f"{figure(bar.value)} {bar.unit}", "figure")
        if bar.told:
            place = LABELS + length + 8 + 9 * len(f"{figure(bar.value)} {bar.unit}")
            yield text(place, y + 15, bar.told, "quiet")


def figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 20 else f"{value:.1f}"


def text(x: float, y: float, content: str, kind: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}">{escape(content)}</text>'
