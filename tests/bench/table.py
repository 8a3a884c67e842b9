"""The rows: what was measured, how often, how noisy, beside its floor and its goal; as text and as JSON."""

import statistics

SUBJECTS = ("p50", "p99", "ratio")


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def summary(values):
    """p99 of fewer than 50 values would only be their maximum by another name."""
    return {"p50": statistics.median(values), "p99": quantile(values, 0.99) if len(values) >= 50 else None,
            "min": min(values), "max": max(values), "n": len(values)}


def number(value):
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


class Table:
    """`add` takes every repetition's value, the floor's values of the same turns, and goals as {subject: limit}."""

    def __init__(self):
        self.rows = []
        self.failed = False

    def add(self, what, values, unit, floor=None, goal=None, more=False, note=""):
        row = {"what": what, "unit": unit, "better": "more" if more else "less", "note": note, **summary(values)}
        row["floor"] = summary(floor) if floor else None
        row["ratio"] = row["p50"] / row["floor"]["p50"] if floor else None
        row["goals"] = []
        for subject, limit in (goal or {}).items():
            assert subject in SUBJECTS, subject
            met = row[subject] is not None and (row[subject] >= limit if more else row[subject] <= limit)
            row["goals"].append({"subject": subject, "limit": limit, "met": met if row[subject] is not None else None})
        self.rows.append(row)

    def left_out(self, what, reason):
        """It cannot be measured here, and that is no fault."""
        self.rows.append({"what": what, "left_out": reason})

    def fail(self, what, error):
        """It should have been measured."""
        self.failed = True
        self.rows.append({"what": what, "failed": f"{type(error).__name__}: {error}"})

    # ---- as text

    def print(self, old):
        before = {row["what"]: row for row in old if "p50" in row}
        head = ["what", "p50", "p99", "unit", "min–max", "n", "floor", "ratio", "goal", "met", *(["was"] if old else [])]
        lines = [head] + [self.cells(row, before, bool(old)) for row in self.rows if "p50" in row]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
        for row in self.rows:
            if "left_out" in row:
                print(f"{row['what']}: left out: {row['left_out']}")
            if "failed" in row:
                print(f"{row['what']}: NOT MEASURED: {row['failed']}")
        print("\nnotes:")
        for row in self.rows:
            if row.get("note"):
                print(f"  {row['what']}: {row['note']}")

    def cells(self, row, before, comparing):
        sign = "≥" if row["better"] == "more" else "≤"
        goals = [(g, f"{g['subject']} {sign} {g['limit']:g}" + (" × floor" if g["subject"] == "ratio" else ""))
                 for g in row["goals"]]
        met = ", ".join({True: "yes", False: "NO", None: "?"}[g["met"]] for g, _ in goals)
        cells = [row["what"], number(row["p50"]), number(row["p99"]), row["unit"],
                 f"{number(row['min'])}–{number(row['max'])}" if row["n"] > 1 else "", str(row["n"]),
                 number(row["floor"]["p50"]) if row["floor"] else "", number(row["ratio"]),
                 ", ".join(text.replace("ratio ", "") for _, text in goals), met]
        return cells + ([changed(before.get(row["what"]), row)] if comparing else [])


def spread(row, by_floor):
    """Least and most; as ratios to the floor, another load on the machine is no change."""
    unit = row["floor"]["p50"] if by_floor else 1
    return row["min"] / unit, row["max"] / unit


def changed(old, new):
    """The earlier median, and how far the new one is from it: as ratios to the floor where both have one."""
    if old is None or not old["p50"]:
        return "new" if old is None else number(old["p50"])
    by_floor = old["ratio"] and new["ratio"]
    then, now = (old["ratio"], new["ratio"]) if by_floor else (old["p50"], new["p50"])
    old_range, new_range = spread(old, by_floor), spread(new, by_floor)
    apart = min(old["n"], new["n"]) > 1 and (new_range[0] > old_range[1] or new_range[1] < old_range[0])
    return f"{number(old['p50'])} ({100 * (now / then - 1):+.0f}%{' of ratio' if by_floor else ''}{', beyond noise' if apart else ''})"
