"""Rows of figures, the targets they are held against, and the three ways in which they are written."""

import json
import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """The least that a ratio (ours / peer; of times and sizes peer / ours) has to be."""

    least: float
    is_exclusive: bool = False

    def is_met_by(self, ratio):
        return ratio > self.least if self.is_exclusive else ratio >= self.least

    def __str__(self):
        return f"{'>' if self.is_exclusive else '≥'} {self.least:.2f}"


AHEAD = Target(1.0, is_exclusive=True)
# What a build is allowed to lose against another one of ours.
NO_LOSS = Target(0.97)
OTHER = "other build"


@dataclass
class Row:
    """One figure of ours, and the peer's beside it if there is one."""

    case: str
    unit: str
    ours: list
    peer: list = field(default_factory=list)
    peer_name: str = ""
    target: Target = None
    # Of times and sizes the ratio is the other way round, so that more is better everywhere.
    is_less_better: bool = False

    @property
    def ratio(self):
        if not self.peer:
            return None
        ratio = statistics.median(self.ours) / statistics.median(self.peer)
        return 1 / ratio if self.is_less_better else ratio

    @property
    def is_met(self):
        """Whether the target is met; None without one."""
        return self.target.is_met_by(self.ratio) if self.target else None

    def cells(self):
        ratio, verdict = self.ratio, {True: "met", False: "NOT MET", None: ""}[self.is_met]
        return [
            self.case, self.unit, middle(self.ours), spread(self.ours), middle(self.peer), spread(self.peer),
            self.peer_name, "" if ratio is None else f"{ratio:.2f}", str(self.target or ""), verdict,
        ]

    def facts(self):
        return {
            "case": self.case, "unit": self.unit, "ours": self.ours, "peer": self.peer,
            "peerName": self.peer_name, "ratio": self.ratio,
            "target": str(self.target) if self.target else None, "met": self.is_met,
        }


HEADINGS = ["case", "unit", "ours", "min–max", "peer", "min–max", "which", "ratio", "target", ""]
# Where a column holds words, it begins on the left.
WORDS = {0, 1, 6, 8, 9}


@dataclass
class Section:
    """A table with its title."""

    name: str
    title: str
    rows: list
    # What a reader has to know to judge the figures.
    notes: list = field(default_factory=list)

    def text(self):
        table = [HEADINGS] + [row.cells() for row in self.rows]
        widths = [max(len(cells[column]) for cells in table) for column in range(len(HEADINGS))]
        lines = [f"== {self.name}: {self.title}"]
        for cells in table:
            padded = [
                cell.ljust(width) if column in WORDS else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(cells, widths))
            ]
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines + [f"({note})" for note in self.notes]) + "\n"

    def markdown(self):
        lines = [f"### {self.title[0].upper()}{self.title[1:]}", ""]
        lines += [f"| {' | '.join(HEADINGS)} |"]
        lines += [f"|{'|'.join('---' if column in WORDS else '---:' for column in range(len(HEADINGS)))}|"]
        lines += [f"| {' | '.join(row.cells())} |" for row in self.rows]
        return "\n".join(lines + [f"\n{note}" for note in self.notes]) + "\n"

    def facts(self):
        return {
            "name": self.name, "title": self.title, "notes": self.notes,
            "rows": [row.facts() for row in self.rows],
        }


def number(value):
    """Three digits that mean something, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def middle(values):
    return number(statistics.median(values)) if values else ""


def spread(values):
    return f"{number(min(values))}–{number(max(values))}" if len(values) > 1 else ""


def summary(sections):
    """How many targets were met, and which were not."""
    rows = [(section, row) for section in sections for row in section.rows if row.target]
    missed = [
        f"{section.name}: {row.case}, against {row.peer_name}: {row.ratio:.2f}, target {row.target}"
        for section, row in rows if not row.is_met
    ]
    if not rows:
        return "no targets in what was measured"
    lines = [f"targets met: {len(rows) - len(missed)} of {len(rows)}"]
    return "\n".join(lines + [f"  not met: {line}" for line in missed])


def write_json(path, machine, settings, sections):
    facts = {
        "machine": machine, "settings": settings, "sections": [section.facts() for section in sections],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=2, ensure_ascii=False)
        file.write("\n")


def write_markdown(path, machine, settings, sections):
    lines = [f"{key}: {value}  " for key, value in {**machine, **settings}.items()]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n\n" + "\n".join(section.markdown() for section in sections))
