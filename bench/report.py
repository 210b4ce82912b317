"""Write REPORT.md, TARGETS.md and their figures from the results of the parts of the benchmark.

Reads .build/bench/all, the results of the long parts in .build/bench/large, kinds
and churn as far as they exist, limits.md and tried.md.
A ratio compares slices of the same round: a candidate's throughput over that of
the base. The tables show the median of the rounds, with the lowest and the
highest.
"""

import html
import os
import re
from collections import defaultdict
from statistics import median

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS, LARGE, KINDS, CHURN = (os.path.join(os.path.dirname(HERE), ".build", "bench", part)
                                for part in ("all", "large", "kinds", "churn"))

NAMES = {
    "nothing": "empty SELECT",
    "bare": "bare insert",
    "bare-function": "bare insert in a function",
    "gate": "an advisory lock",
    "insert": "plain INSERT",
    "extension": "**extension, one round trip**",
    "extension-if": "**the same, by `IF`**",
    "portable": "**portable edition**",
    "extension-nowait": "**extension, not waiting**",
    "extension-statements": "**extension, by statements**",
    "execute": "**extension, `execute`**",
    "claim": "**`claim`**",
    "select": "primary-key SELECT",
    "select-compared": "hand-written SELECT that compares",
    "handwritten": "hand-written PL/pgSQL",
    "handwritten-nowait": "hand-written, not waiting",
    "handwritten-rules": "hand-written, all rules",
    "handwritten-statements": "hand-written, by statements",
    "redis": "Redis recipe, `everysec`",
    "redis-always": "Redis recipe, `always`",
    "redis-kept": "Redis recipe, lock never expires",
    "powertools": "aws-lambda-powertools (Redis)",
    "sqlalchemy": "bare insert by SQLAlchemy",
    "dbos": "dbos (PostgreSQL)",
}


# ---------------------------------------------------------------------------
# Results
# ---------------------------------------------------------------------------

def lines(name, directory=RESULTS):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t") for line in file if line.strip()]


class Slice:
    """A candidate's share of a round, as pay.c prints it."""

    def __init__(self, fields):
        self.load, self.candidate = fields[0], fields[1]
        self.round, self.clients = int(fields[2]), int(fields[3])
        self.seconds, self.done = float(fields[4]), int(fields[5])
        self.refused, self.failed = int(fields[6]), int(fields[7])
        self.p50, self.p99 = int(fields[8]), int(fields[9])
        self.wal, self.xids = int(fields[10]) / self.done, int(fields[11])
        self.rate = (self.done - self.failed) / self.seconds


def slices(name, directory=RESULTS):
    return [Slice(fields) for fields in lines(name, directory)]


def of(all_slices, load, candidate, clients=None):
    return [s for s in all_slices
            if s.load == load and s.candidate == candidate and clients in (None, s.clients)]


class Spread:
    """The median of some values, with the lowest and the highest."""

    def __init__(self, values):
        self.values = sorted(values)
        self.median = median(self.values) if self.values else None

    def __str__(self):
        if not self.values:
            return "–"
        low, high = self.values[0], self.values[-1]
        if len(self.values) == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({low:.2f}–{high:.2f})"


def ratios(all_slices, load, candidate, base, clients=None):
    bases = {s.round: s.rate for s in of(all_slices, load, base, clients)}
    return Spread([s.rate / bases[s.round] for s in of(all_slices, load, candidate, clients)
                   if bases.get(s.round)])


def added(all_slices, load, candidate, base, clients):
    """Milliseconds that a candidate adds to a request of the base, of the same round."""
    bases = {s.round: s.rate for s in of(all_slices, load, base, clients)}
    return Spread([1000 * clients * (1 / s.rate - 1 / bases[s.round]) for s in of(all_slices, load, candidate, clients)
                   if bases.get(s.round) and s.rate])


def middle(all_slices, what):
    return median([getattr(s, what) for s in all_slices]) if all_slices else None


def candidates_of(all_slices, load):
    return list(dict.fromkeys(s.candidate for s in all_slices if s.load == load))


# ---------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------

def table(head, rows):
    text = ["| " + " | ".join(head) + " |", "|" + " --- |" + " ---: |" * (len(head) - 1)]
    text += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(text) + "\n"


def number(value, unit=""):
    if value is None:
        return "–"
    return f"{value:,.0f}{unit}"


def milliseconds(value):
    return "–" if value is None else f"{value / 1000:.2f} ms"


# ---------------------------------------------------------------------------
# Figures: plain SVG that follows the reader's light or dark scheme
# ---------------------------------------------------------------------------

STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.small { font-size: 11px; fill: #57606a }
.axis { stroke: #d0d7de }
.other { fill: #8c959f }
.ours { fill: #0969da }
.spread { stroke: #24292f; stroke-width: 1.5 }
.mark { stroke: #cf222e; stroke-dasharray: 4 3 }
.line { fill: none; stroke: #0969da; stroke-width: 2 }
.second { fill: none; stroke: #bc4c00; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .axis { stroke: #3d444d } .other { fill: #6e7681 }
  .ours { fill: #4493f8 } .spread { stroke: #e6edf3 } .mark { stroke: #f85149 }
  .line { stroke: #4493f8 } .second { stroke: #f0883e }
}
</style>"""


def write_svg(name, title, width, height, body):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                   f'width="{width}" height="{height}" role="img" aria-label="{html.escape(title)}">\n{STYLE}\n'
                   f'<text class="title" x="10" y="22">{html.escape(title)}</text>\n')
        file.write("\n".join(body) + "\n</svg>\n")


def plain(name):
    return re.sub(r"[*`]", "", NAMES.get(name, name))


def bars(file_name, title, rows, form, mark=None):
    """rows: (label, ours, value, low, high); mark: (value, label)."""
    rows = [row for row in rows if row[2] is not None]
    if not rows:
        return ""
    left, right, step, top = 250, 640, 26, 46
    most = max([row[4] for row in rows] + ([mark[0]] if mark else [])) or 1
    scale = (right - left) / most
    height = top + step * len(rows) + (28 if mark else 10)
    body = []
    for i, (label, ours, value, low, high) in enumerate(rows):
        y = top + i * step
        body.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{html.escape(label)}</text>')
        body.append(f'<rect class="{"ours" if ours else "other"}" x="{left}" y="{y}" width="{max(value * scale, 1):.1f}" height="18" rx="2"/>')
        if high > low:
            body.append(f'<line class="spread" x1="{left + low * scale:.1f}" x2="{left + high * scale:.1f}" y1="{y + 9}" y2="{y + 9}"/>')
        body.append(f'<text x="{left + max(value, high) * scale + 6:.1f}" y="{y + 13}">{html.escape(form(value))}</text>')
    body.append(f'<line class="axis" x1="{left}" x2="{left}" y1="{top - 6}" y2="{top + step * len(rows)}"/>')
    if mark:
        x = left + mark[0] * scale
        y = top + step * len(rows)
        body.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{y + 4}"/>')
        body.append(f'<text class="small" x="{x:.1f}" y="{y + 18}" text-anchor="middle">{html.escape(mark[1])}</text>')
    write_svg(file_name, title, 720, height, body)
    return f"![{title}]({file_name})\n"


def curves(file_name, title, x_title, series):
    """series: (label, class, [(x, y)], form); each is scaled to its own maximum."""
    series = [s for s in series if s[2]]
    if not series:
        return ""
    left, right, top, bottom = 20, 700, 64, 240
    last = max(x for s in series for x, _ in s[2]) or 1
    body = [f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>']
    for i, (label, style, points, form) in enumerate(series):
        most = max(y for _, y in points) or 1
        path = " ".join(f"{left + x / last * (right - left):.1f},{bottom - y / most * (bottom - top):.1f}" for x, y in points)
        body.append(f'<polyline class="{style}" points="{path}"/>')
        body.append(f'<line class="{style}" x1="{left + i * 330}" x2="{left + 22 + i * 330}" y1="42" y2="42"/>'
                    f'<text x="{left + 28 + i * 330}" y="46">{html.escape(label)}, at most {html.escape(form(most))}</text>')
    body.append(f'<text class="small" x="{right}" y="{bottom + 18}" text-anchor="end">{html.escape(x_title)}</text>')
    write_svg(file_name, title, 720, bottom + 30, body)
    return f"![{title}]({file_name})\n"


# ---------------------------------------------------------------------------
# The report
# ---------------------------------------------------------------------------

load = slices("load.tsv")
libraries = slices("libraries.tsv")
ticks = slices("ticks.tsv")
size_from = LARGE if lines("size.tsv", LARGE) else RESULTS
sizes = slices("size.tsv", size_from)
fill = {int(row[0]): row for row in lines("fill.tsv", size_from)}
memory = [(int(a), int(b)) for a, b in lines("memory.tsv", LARGE)]
instructions = {row[0]: row for row in lines("instructions.tsv")[1:]}
response_bytes = int(lines("response.tsv")[0][0]) if lines("response.tsv") else None
environment = dict(lines("environment.tsv"))
large_environment = dict(lines("environment.tsv", LARGE))
executed = lines("duplicates.tsv")


def counted(label, column):
    row = instructions.get(label)
    return int(row[column]) if row and row[column] else None


def counted_over_base(label):
    """Instructions over the base, with the lowest and the highest turn."""
    row = instructions.get(label)
    if not row:
        return "–"
    base = int(row[2]) - int(row[3])
    return f"{int(row[3]):,} ({int(row[6]) - base:,}–{int(row[7]) - base:,})"


def times_among(load_name):
    """Number of live keys -> the median time of a claim in each round, in microseconds."""
    found = defaultdict(list)
    for s in sizes:
        match = re.fullmatch(load_name + r"-among-(\d+)", s.load)
        if match:
            found[int(match.group(1))].append(s.p50)
    return dict(sorted(found.items()))


def growth(times, keys):
    """The ratio of times among so many keys and among the fewest, within a round."""
    return Spread([among / few for among, few in zip(times[keys], times[min(times)])])


def times_executed(candidate):
    """How often the payment of each key of the duplicates was made."""
    counts = [int(count) for reference, count in executed
              if re.fullmatch(rf"dup-{candidate}-\d+", reference)]
    return counts


def first_claims(candidate):
    """Milliseconds of a new connection with one statement, over one with a plain INSERT, of each round."""
    times = {(name, number): float(ms) for name, number, ms in lines("connect.tsv")}
    return Spread([ms - times["insert", number] for (name, number), ms in times.items() if name == candidate])


def waiting(candidate):
    return [s for s in slices("load.tsv") if s.load == "waiters" and s.candidate == candidate]


class Kind:
    """New keys of a kind among so many live ones, as kinds.sh measures them."""

    def __init__(self, fields):
        self.name = fields[0]
        self.keys, self.size, self.indexes, self.seconds, self.first = map(int, fields[1:6])
        self.first_images, self.wal, self.images = float(fields[6]), int(fields[7]), float(fields[8])
        self.response, self.function, self.execute = map(int, fields[9:12])


kinds = [Kind(fields) for fields in lines("kinds.tsv", KINDS)]


def kind_among(name, keys):
    return next((k for k in kinds if k.name == name and k.keys == keys), None)


class Moment:
    """A candidate's tables at one moment of the churn, as churn.sh writes it."""

    def __init__(self, fields):
        self.second, self.candidate = int(fields[0]), fields[1]
        self.rows, self.size, self.dead, self.inserted, self.replaced, self.vacuums, self.slots = map(int, fields[2:])


moments = [Moment(fields) for fields in lines("churn.tsv", CHURN)]
churn_seconds, churn_rate, churn_tick = (int(row[0]) for row in lines("churn-settings.tsv", CHURN)) if moments else (0, 0, 0)


def most(candidate, what, since, until):
    return max(getattr(m, what) for m in moments if m.candidate == candidate and since <= m.second <= until)


def growth_of_churn(candidate):
    """By how much the largest size of the second half of the churn exceeds that of the first, in per cent."""
    half = churn_seconds // 2
    return 100 * (most(candidate, "size", half, churn_seconds) / most(candidate, "size", 0, half) - 1)


def targets():
    rows = []

    def target(what, wanted, measured, met, floor="–"):
        rows.append((what, wanted, measured, "–" if met is None else "met" if met else "**not met**", floor))

    plain_insert = counted("plain INSERT of such a row", 3)
    plain_wal = counted("plain INSERT of such a row", 5)
    floor = f"{number(plain_insert)}: one plain INSERT of such a row, without any check"
    for label, what, most, least in (
            ("extension in a function", "claim + complete in a function, `PERFORM complete()`", 62000, floor),
            ("extension in a function, IF", "the same, `IF complete() IS NULL`", 62000, floor),
            ("extension by execute", "by `execute`", 42000, floor),
            ("extension in a function, second day", "in a function, two slots in use", 70000, "the same, and the look-up in a second index"),
            ("extension by execute, second day", "by `execute`, two slots in use", 50000, "the same, and the look-up in a second index")):
        over = counted(label, 3)
        target(f"instructions over the bare payment: {what}", f"at most {most:,}", counted_over_base(label), None if over is None else over <= most, least)
    by_statements, noops = counted("extension by statements", 3), counted("no-ops by statements", 3)
    target("the same: separate statements, prepared", "at most no-ops with the same arguments and 50,000", counted_over_base("extension by statements"),
           None if noops is None else by_statements <= noops + 50000, f"{number(noops)}: the no-ops")
    for label, what in (("extension in a function", "in a function"), ("extension by execute", "by `execute`")):
        wal = counted(label, 5)
        if wal is not None and response_bytes is not None:
            target(f"WAL per new key over the bare payment, {what}", "at most 320 bytes and the response",
                   f"{wal - response_bytes} bytes and {response_bytes} of response", wal - response_bytes <= 320,
                   f"{plain_wal - response_bytes} and {response_bytes}: the plain INSERT")
    uuid7, random = kind_among("UUIDv7", 1000000), kind_among("random", 1000000)
    if uuid7 and random:
        target("WAL per new key with page images, UUIDv7 keys, 1,000,000 live, 100,000 keys after a checkpoint", "at most 600 bytes and the response",
               f"{uuid7.wal - uuid7.response} bytes and {uuid7.response} of response", uuid7.wal - uuid7.response <= 600)
        target("the same, of the first 10,000 keys", "a third of that with random keys", f"{uuid7.first} bytes, random {random.first:,} bytes",
               3 * uuid7.first <= random.first, f"over all 100,000 keys: {uuid7.wal} and {random.wal} bytes")
    last = [Spread([s.seconds for s in waiting(candidate)]) for candidate in ("extension", "execute", "gate", "handwritten")]
    for spread, what in zip(last, ("claim", "execute")):
        if spread.values:
            target(f"1,000 duplicates of a running {what}, all answered after its commit", "within 0.5 s, by replays", f"{spread} s",
                   spread.median <= 0.5, f"{last[2]} s: 1,000 that wait for an advisory lock; hand-written {last[3]} s")
    for candidate, wanted, what in (("execute", 1.5, "by `execute`"), ("extension", 1.35, "in a function")):
        ratio = ratios(load, "new", candidate, "handwritten", 8)
        bare = ratios(load, "new", "bare-function", "handwritten", 8)
        target(f"throughput, new keys, 8 clients, durable, {what}", f"at least {wanted} times hand-written", ratio,
               None if ratio.median is None else ratio.median >= wanted, f"{bare}: the bare payment in a function")
    ratio, ceiling = ratios(load, "replay", "claim", "handwritten", 8), ratios(load, "replay", "select", "handwritten", 8)
    target("replay, 8 clients", "at least 1.5 times the hand-written replay", ratio, None if ratio.median is None else ratio.median >= 1.5,
           f"{ceiling}: a SELECT of the row by its primary key")
    replays = of(load, "replay", "claim")
    target("replay: WAL, transaction ids", "none", f"{number(middle(replays, 'wal'))} bytes, {number(middle(replays, 'xids'))}",
           middle(replays, "wal") == 0 and middle(replays, "xids") == 0 if replays else None)
    versions = {name: (int(keys), int(replaced)) for name, keys, replaced in lines("versions.tsv")}
    if "extension" in versions:
        keys, replaced = versions["extension"]
        target("dead row versions per key without a lease", "0", f"{replaced / keys:.2f} of {keys:,} keys", replaced == 0,
               "hand-written {:.2f}, portable {:.2f}".format(*(versions[name][1] / versions[name][0] for name in ("handwritten", "portable"))))
    claim = first_claims("extension")
    if claim.values:
        target("first claim of a new connection", "at most 2 ms over a plain INSERT", f"{claim} ms", claim.median <= 2,
               f"{first_claims('bare')} ms: the bare payment in a function; hand-written {first_claims('handwritten')} ms")

    among = times_among("new")
    if among:
        keys = max(among)
        large = keys >= 20000000
        target(f"time of a new key, by `once`, among {keys:,} live keys", f"at most 1.2 times that among {min(among):,}",
               f"{growth(among, keys)}" + ("" if large else "; 20 million: `make bench-large`"),
               growth(among, keys).median <= 1.2 if large else None)
    turn = re.search(r"^(\d+) keys, (?s:.*)^turn of the wheel +(\d+) ms +(\d+) bytes", listing("expiry.txt"), re.MULTILINE)
    if turn:
        keys, ms, wal = map(int, turn.groups())
        target(f"{keys:,} expired keys forgotten by a turn of the wheel", "under 200 ms and 200 kB of WAL", f"{ms} ms, {wal / 1000:.0f} kB",
               ms < 200 and wal < 200000)
    for kind, what in (("wheel", "the wheel turns"), ("default", "`keys_long` is swept at the default rate"),
                       ("steady", "`keys_long` is swept as fast as keys are claimed")):
        found = re.search(rf"^{kind} +\d+ +([\d.]+) % \(([\d.]+) to ([\d.]+)\)", listing("sweep_load.txt"), re.MULTILINE)
        if found:
            target(f"claims per second while {what}", "at least 0.95 of those with no sweep",
                   "{:.3f} ({:.3f}–{:.3f})".format(*(float(value) / 100 for value in found.groups())), float(found[1]) >= 95)
    if moments:
        target("size on disk, the second half of an hour's churn over the first", "flat", f"{growth_of_churn('extension'):+.1f} %",
               growth_of_churn("extension") <= 10 if churn_seconds >= 3600 else None,
               ", ".join(f"{what} {growth_of_churn(name):+.1f} %" for name, what in (("portable", "portable"), ("handwritten", "hand-written"))))
    else:
        target("size on disk, the second half of an hour's churn over the first", "flat", "`make bench-churn`", None)
    if memory:
        early = [kb for done, kb in memory if done >= memory[-1][0] / 10][0]
        target("memory of a backend after a million transactions", "flat",
               f"{early:,} kB after {memory[-1][0] // 10:,}, {memory[-1][1]:,} kB after {memory[-1][0]:,}",
               memory[-1][1] <= early * 1.02 if memory[-1][0] >= 950000 else None)
    else:
        target("memory of a backend after a million transactions", "flat", "`make bench-large`", None)
    return table(("what", "goal", "measured", "", "floor"), rows)


def throughput():
    text = ""
    rows = []
    for candidate in candidates_of(load, "new"):
        eight = of(load, "new", candidate, 8)
        rows.append((NAMES[candidate],
                     *(ratios(load, "new", candidate, "bare", clients) for clients in (1, 8, 32)),
                     ratios(load, "slow", candidate, "bare"),
                     milliseconds(middle(eight, "p50")), milliseconds(middle(eight, "p99")), number(middle(eight, "wal"))))
    bare = middle(of(load, "new", "bare", 8), "rate")
    text += bars("throughput.svg", "New keys, 8 clients, durable commits: payments per second, bare insert = 1",
                 [(plain(c), "**" in NAMES[c], r.median, r.values[0], r.values[-1])
                  for c in candidates_of(load, "new") if (r := ratios(load, "new", c, "bare", 8)).values],
                 lambda value: f"{value:.2f}")
    text += "\n" + table(("new keys: throughput over bare", "1 client", "8 clients", "32 clients", "8, slow disk", "p50 of 8", "p99 of 8", "WAL bytes, 8"), rows)
    rows = [(NAMES[c], *(added(load, "new", c, "bare", clients) for clients in (1, 8, 32)))
            for c in candidates_of(load, "new") if c != "bare"]
    text += "\n" + table(("new keys: milliseconds added to a request", "1 client", "8 clients", "32 clients"), rows)
    text += (f"\nThe bare insert made {number(bare)} payments a second with 8 clients. WAL is what the server wrote per payment, "
             "full-page images included. On the slow disk (`commit_delay`) each flush takes a millisecond more: elsewhere here the "
             "processors are the limit, there the disk is.\n\n")
    rows = [(NAMES[c], ratios(load, "mix", c, "bare"), milliseconds(middle(of(load, "mix", c), "p50")),
             milliseconds(middle(of(load, "mix", c), "p99"))) for c in candidates_of(load, "mix")]
    text += table(("retry mix, 70 % new, 30 % replays, 8 clients: throughput over bare", "ratio", "p50", "p99"), rows)
    text += "\nThe bare insert makes every payment again, and so writes more than those that replay.\n"
    return text


def replay():
    rows = []
    for candidate in candidates_of(load, "replay"):
        found = of(load, "replay", candidate)
        rows.append((NAMES[candidate], *(ratios(load, "replay", candidate, "select", clients) for clients in (1, 8, 32)),
                     milliseconds(middle(of(load, "replay", candidate, 1), "p50")),
                     number(middle(found, "wal")), number(middle(found, "xids"))))
    text = table(("replays: throughput over a SELECT of the row", "1 client", "8 clients", "32 clients", "p50 of 1", "WAL bytes", "xids"), rows)
    return text + "\nThe SELECT is prepared, names the partition, and finds the row by its primary key, which the client knows: " \
                  "no application could do that, and no lookup is cheaper.\n"


def responses():
    rows = []
    for kind, base in (("new", "bare"), ("replay", "select")):
        for candidate in candidates_of(load, f"{kind}-1000"):
            rows.append((f"{NAMES[candidate]}, {'new keys' if kind == 'new' else 'replays'}",
                         *(ratios(load, f"{kind}-{size}", candidate, base) for size in (1000, 20000)),
                         *(number(middle(of(load, f"{kind}-{size}", candidate), "wal")) for size in (1000, 20000))))
    return table(("responses: throughput over bare, or over SELECT", "1 kB", "20 kB", "WAL bytes, 1 kB", "WAL bytes, 20 kB"), rows) + \
        "\n8 clients; the responses consist of random digits, which hardly compress. The bare insert sends the response and stores none.\n"


def duplicates():
    bases = {s.round: s for s in of(load, "duplicates", "nothing")}
    rows = []
    for candidate in candidates_of(load, "duplicates"):
        found = of(load, "duplicates", candidate)
        counts = times_executed(candidate)
        rows.append((NAMES[candidate], milliseconds(middle(found, "p50")), milliseconds(middle(found, "p99")),
                     Spread([s.p99 / bases[s.round].p99 for s in found if s.round in bases]),
                     number(middle(found, "refused")),
                     "–" if not counts else f"{sum(counts)} of {len(counts)} keys" if max(counts) == 1 else f"**up to {max(counts)}**"))
    rows_waiting = [(NAMES[c], milliseconds(middle(found, "p50")), f"{Spread([x.seconds for x in found])} s", number(middle(found, "refused")))
                    for c in candidates_of(load, "waiters") for found in [of(load, "waiters", c)]]
    waiters = table(("1,000 clients wait for a running request of their key", "p50 after its commit", "all answered", "answered 409"), rows_waiting) + \
        "\nWith `idempotency.max_waiters` at 1,000; by default ten wait, and the others are answered 409 at once. The advisory lock, " \
        "which 1,000 sessions wait for and do nothing else, is the floor.\n" if rows_waiting else ""
    return waiters + "\n" + table(("1,000 clients send one key at once", "p50", "p99", "p99 over empty SELECT", "answered 409", "payments made"), rows)


def counts():
    rows = []
    for label, row in instructions.items():
        rows.append((label, number(int(row[2])), number(int(row[3])) if row[3] else "", number(int(row[4])),
                     number(int(row[5])) if row[5] else "", row[1]))
    text = bars("instructions.svg", "Instructions of idempotency: one payment, less those of the bare payment",
                [(label, label.startswith("extension"), counted(label, 3), counted(label, 3), counted(label, 3))
                 for label in ("extension in a function", "extension by execute", "extension by statements",
                               "portable in a function", "hand-written function", "hand-written by statements")],
                lambda value: f"{value:,.0f}", (counted("plain INSERT of such a row", 3) or 0, "one plain INSERT of such a row"))
    return text + "\n" + table(("one transaction", "instructions", "over base", "WAL bytes", "over base", "base"), rows) + \
        ("\nA single-user backend under callgrind, 10,000 keys stored, full-page images off. Statements are sent as text, and each is parsed; "
         "“by statements” pays this for each statement. Bulk rows are per key. The stored response has "
         f"{number(response_bytes)} bytes.\n")


def live_keys():
    new, imaged, old = (times_among(kind) for kind in ("new", "imaged", "replay"))
    if not new:
        return ""
    rows = []
    for keys in new:
        seconds, size = fill[keys][1:3] if keys in fill else ("–", None)
        rows.append((f"{keys:,}", *(cell for times in (new, imaged, old) for cell in
                                    (f"{Spread(times[keys]).median:.0f} µs", str(growth(times, keys)))),
                     f"{int(size) / 1e9:.2f} GB" if size else "–", f"{seconds} s"))
    text = bars("size.svg", "Time of once() of a new key, by live keys", [
        (f"{keys:,} keys", True, s.median, s.values[0], s.values[-1]) for keys, s in
        ((keys, Spread(times)) for keys, times in new.items())], lambda value: f"{value:.0f} µs")
    return text + "\n" + table(("live keys", "new key, by `once`", "ratio", "right after a checkpoint", "ratio", "replay of any", "ratio",
                                "size", "filled in"), rows) + \
        "\nOne client, commits that do not wait for the disk, all data in memory. The index is one of hashes, and each new key goes to a " \
        f"page taken at random. Huge pages: {large_environment.get('huge pages', 'no')}; without them, each page that a session " \
        "has not touched before costs it page faults. The first change that a page gets after a checkpoint is logged with the whole page: " \
        "right after a checkpoint, " \
        "where there are many pages, that is nearly every one. The first column leaves these images out, as between checkpoints.\n"


def steady():
    if not ticks:
        return ""
    size = [(int(s), int(b)) for s, b, *_ in lines("ticks-size.tsv") if b]
    turned = [int(row[3]) for row in lines("ticks-size.tsv") if len(row) > 3 and row[3]]
    rates = [(s.round, s.rate) for s in ticks]
    half = len(rates) // 2
    first, second = median(r for _, r in rates[:half]), median(r for _, r in rates[half:])
    text = curves("ticks.svg", "Ten ticks of the wheel: throughput, and the size of all slots", "seconds", [
        ("payments per second", "line", rates, lambda v: f"{v:,.0f}"),
        ("size of the slots", "second", size, lambda v: f"{v / 1e6:.1f} MB")])
    return text + (f"\nNew keys by 8 clients over ten ticks, with keys that live one tick: the second half runs at "
                   f"{second / first:.2f} times the rate of the first, {turned[-1] if turned else 0} slots were emptied, "
                   f"and the slots never took more than {max([b for _, b in size] or [0]) / 1e6:.1f} MB.\n")


def failures():
    found = defaultdict(lambda: defaultdict(list))
    for candidate, victim, _, status, paid in lines("failures.tsv"):
        found[candidate][victim].append((status, int(paid)))
    rows = []
    for candidate, victims in found.items():
        cells = []
        for victim in ("client", "server", "redis"):
            trials = victims.get(victim)
            if not trials:
                cells.append("–")
                continue
            twice = sum(paid > 1 for _, paid in trials)
            lost = sum(paid == 0 for _, paid in trials)
            unanswered = sum(paid == 1 and status not in ("200", "201") for status, paid in trials)
            said = [f"**{n} {what}**" for n, what in ((twice, "paid twice"), (lost, "never paid"), (unanswered, "never answered")) if n]
            cells.append(f"{', '.join(said) or 'none'} of {len(trials)}")
        rows.append((NAMES[candidate], *cells))
    return table(("killed", "client", "PostgreSQL", "Redis"), rows)


def published():
    if not libraries:
        return "Not measured: the libraries could not be installed.\n"
    versions = ", ".join(f"{name} {version}" for name, version in lines("libraries-versions.tsv"))
    base = {"extension": "bare", "powertools": "bare", "dbos": "sqlalchemy"}
    rows = []
    for candidate in candidates_of(libraries, "new"):
        over = base.get(candidate)
        rows.append((NAMES[candidate], NAMES[over] if over else "",
                     *(ratios(libraries, "new", candidate, over, clients) if over else "" for clients in (1, 8)),
                     milliseconds(middle(of(libraries, "new", candidate, 1), "p50"))))
    return table(("new keys, from Python", "base", "over base, 1 client", "over base, 8 clients", "p50 of 1"), rows) + \
        (f"\n{versions}. One Python process; each library is compared with the bare payment through the same driver, "
         "since a client in Python costs more than the server. dbos is a workflow engine: an idempotency key is the ID of a workflow.\n")


def bulk():
    path = os.path.join(RESULTS, "once.txt")
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        text = file.read().strip().splitlines()
    return f"`once` in a WHERE clause, compared with an `INSERT .. ON CONFLICT` into a table of the same shape: {text[-1]}.\n" if text else ""


def listing(name, directory=RESULTS):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read().strip("\n")


def expiry():
    text = ""
    for name, directory, said in (
            ("expiry", RESULTS, "Expired keys of a slot, removed by a turn of the wheel, and by statements:"),
            ("sweep_load", RESULTS, "Claims during sweeps, one every two seconds, thirty times as often as by default: claims in the second "
             "around the end of a sweep, compared with those in the following second. If keys go to slots, the wheel turns each "
             "time. If they go to `keys_long`, expired keys are deleted there: at the rate that the defaults allow, 10,000 a "
             "minute, or as many as are claimed in that second, so that the figure includes the work of deleting them:"),
            ("purge", LARGE, "Purging a scope with a million keys:")):
        listed = listing(f"{name}.txt", directory)
        if listed:
            text += f"{said}\n\n```text\n{listed}\n```\n\n"
    return text


def by_kind():
    if not kinds:
        return ""
    rows = [(f"{k.name}, {k.keys:,} live keys", f"{k.indexes / 1e6:,.0f} MB", f"{k.first:,} bytes", f"{k.first_images:.2f}", f"{k.wal:,} bytes",
             f"{k.images:.2f}", number(k.function), number(k.execute)) for k in kinds]
    return table(("new keys", "index", "WAL, first 10,000", "images", "WAL, all 100,000", "images", "instructions, function", "by `execute`"), rows) + \
        (f"\nWAL and page images a key, of a claim and completion alone, after a checkpoint; the response has {kinds[0].response} bytes. Then, "
         "between checkpoints, instructions over the bare payment, as above. Live keys are stored in the order of their generation: random ones fill the pages of the "
         "index to two thirds, UUIDv7 from left to right. The more pages there are, the more new keys are the first on their page since "
         "the checkpoint, if they are random.\n")


CHURNED = {"extension": "**extension**", "portable": "portable edition", "handwritten": "hand-written table",
           "handwritten-rules": "hand-written, all rules"}


def churn():
    if not moments:
        return ""
    ends = range(600, churn_seconds + 1, 600)
    text = ""
    for what, head, form in (("size", "largest size in the ten minutes before", lambda size: f"{size / 1e6:.1f} MB"),
                             ("dead", "most dead row versions in the ten minutes before", number)):
        rows = [(CHURNED[name], form(most(name, what, 0, 0)), *(form(most(name, what, end - 600, end)) for end in ends)) for name in CHURNED]
        if what == "size":
            rows.append(("catalogs of the database", form(most("catalogs", what, 0, 0)), *(form(most("catalogs", what, end - 600, end)) for end in ends)))
        text += table((head, "start", *(f"{end // 60} min" for end in ends)), rows) + "\n"
    last = {m.candidate: m for m in moments}
    rows = [(CHURNED[name], *(number(getattr(last[name], what)) for what in ("inserted", "replaced", "vacuums", "slots"))) for name in CHURNED]
    text += table(("in all", "keys inserted", "row versions replaced or deleted", "runs of autovacuum", "slots emptied"), rows)
    return text + (f"\nAll at once on one server, each at {churn_rate} requests a second, of which three in ten repeat the last key of their client; those of "
                   "the extension are made by a function and by `execute` in turn. A key is "
                   f"remembered for {churn_tick // 60} minutes, a tick of the wheel. Once a minute expired keys are removed: by the sweeper, by `sweep()` of "
                   "the portable edition, and by `DELETE` from the hand-written tables, the second of which has an index for that. Autovacuum has its default settings; on "
                   "the extension's tables it runs because of insertions. Sizes include indexes; dead row versions are counted every ten seconds.\n")


def written(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


PEERS = ("execute", "extension", "portable", "handwritten", "redis")
PEER_NAMES = ("**`execute`**", "**in a function**", "portable edition", "hand-written table", "Redis")
COUNTED = {"execute": "extension by execute", "extension": "extension in a function", "portable": "portable in a function",
           "handwritten": "hand-written function"}
REPLAYED = {"execute": "replay by execute", "extension": "replay in a function", "portable": "replay, portable",
            "handwritten": "replay, hand-written function"}


def answers():
    """The four questions of a user: the extension compared with its peers."""
    def compared(*rows):
        return table(("", *PEER_NAMES), [(what, *map(of_one, PEERS)) for what, of_one in rows])

    def in_milliseconds(spread):
        return "–" if spread.median is None else f"{spread.median:+.2f} ms"

    # If other work ran, only what was measured in turns is comparable.
    times = () if other_work_ran(environment) else (
        *((f"time added to a request, {clients} client{'s' if clients > 1 else ''}, durable",
           lambda c, clients=clients: in_milliseconds(added(load, "new", c, "bare", clients))) for clients in (1, 8, 32)),
        ("99th percentile, 8 clients", lambda c: milliseconds(middle(of(load, "new", c, 8), "p99"))))
    text = "## What does a request cost?\n\n" + compared(
        *times,
        *((f"throughput over the hand-written one's, {clients} client{'s' if clients > 1 else ''}, durable",
           lambda c, clients=clients: ratios(load, "new", c, "handwritten", clients)) for clients in (1, 8, 32)),
        ("instructions of the server, over the payment's", lambda c: number(counted(COUNTED.get(c), 3))),
        ("WAL, over the payment's, response included", lambda c: number(counted(COUNTED.get(c), 5), " bytes")))
    bare = of(load, "new", "bare", 8)
    if bare and times:
        text += (f"\nThe payment alone takes {milliseconds(middle(bare, 'p50'))} with 8 clients, 99 of 100 less than "
                 f"{milliseconds(middle(bare, 'p99'))}.")
    plain = counted("plain INSERT of such a row", 3)
    if plain:
        text += (f"\nOne plain INSERT of a row like a key's, without any check, takes {number(plain)} instructions and "
                 f"{number(counted('plain INSERT of such a row', 5))} bytes of WAL. From the second day on two slots of the wheel hold keys: "
                 f"{number(counted('extension by execute, second day', 3))} instructions by `execute`, "
                 f"{number(counted('extension in a function, second day', 3))} in a function.\n")
    imaged = [f"{number(uuid7.first)} bytes and {number(random.first)} among {keys // 1000000} million live keys"
              for keys in (1000000, 20000000) if (uuid7 := kind_among("UUIDv7", keys)) and (random := kind_among("random", keys))]
    if imaged:
        text += f"With page images, the first 10,000 keys after a checkpoint write to WAL, as UUIDv7 and as random keys, {'; '.join(imaged)}.\n"

    text += "\n## What does a replay cost?\n\n" + compared(
        *([("median, 1 client", lambda c: milliseconds(middle(of(load, "replay", c, 1), "p50")))] if times else []),
        ("throughput over the hand-written one's, 8 clients", lambda c: ratios(load, "replay", c, "handwritten", 8)),
        ("instructions of the server, over a SELECT by primary key", lambda c: number(counted(REPLAYED.get(c), 3))),
        ("WAL", lambda c: number(middle(of(load, "replay", c), "wal"), " bytes")))

    gone = re.search(r"^(\d+) keys, (?s:.*)^turn of the wheel +(\d+) ms +(\d+) bytes(?s:.*)^DELETE and VACUUM +(\d+) ms +(\d+) bytes",
                     listing("expiry.txt"), re.MULTILINE)
    if gone:
        keys, ms, wal, delete_ms, delete_wal = map(int, gone.groups())
        text += "\n## What does expiry cost?\n\n" + table(
            (f"{keys:,} expired keys", "time", "WAL"),
            [("**a turn of the wheel**", f"{ms} ms", f"{wal / 1000:,.0f} kB"),
             ("`DELETE` and `VACUUM`", f"{delete_ms:,} ms", f"{delete_wal / 1e6:,.0f} MB")])
        if moments:
            half = churn_seconds // 2
            text += "\n" + table(
                (f"an hour's churn, {churn_rate} requests a second" if churn_seconds == 3600 else "churn", "largest size, first half", "second half", "most rows", "most dead row versions"),
                [(CHURNED[name], *(f"{most(name, 'size', *halves) / 1e6:.1f} MB" for halves in ((0, half), (half, churn_seconds))),
                  *(number(most(name, what, 0, churn_seconds)) for what in ("rows", "dead"))) for name in list(CHURNED)[:3]]) + \
                "\nThe extension keeps an expired key until its slot is emptied, up to a tick longer than the others.\n"
        versions = {name: (int(stored), int(replaced)) for name, stored, replaced in lines("versions.tsv")}
        if versions:
            text += ("\nRow versions that are replaced, and have to be removed later, for each key stored: " +
                     ", ".join(f"{what} {versions[name][1] / versions[name][0]:.2f}" for name, what in
                               (("extension", "extension"), ("portable", "portable edition"), ("handwritten", "hand-written"))
                               if name in versions) + ".\n")

    killed = defaultdict(list)
    for candidate, _, _, status, paid in lines("failures.tsv"):
        killed[candidate].append(status in ("200", "201") and int(paid) == 1)
    if killed:
        text += "\n## What is lost when something is killed half-way?\n\n" + compared(
            ("client, server or Redis killed at each point, then retried: right in the end",
             lambda c: f"{sum(killed[c])} of {len(killed[c])}" if killed[c] else "–"))
        text += f"\nThe payment alone, retried: {sum(killed['bare'])} of {len(killed['bare'])}.\n"
    return text + \
        "\nPeers: the portable edition is the same contract in PL/pgSQL; the hand-written table is in PL/pgSQL, too; Redis is `SET NX`, the " \
        "payment, `SET`, with `everysec`. [Goals](TARGETS.md), and why some are not met, are for those who work on the extension.\n"


def other_work_ran(measured):
    return float(measured.get("load at the start", 0)) > 0.5 * int(measured.get("processors", "1").split()[0])


def reservations():
    """Why the figures may be less reliable than usual."""
    said = []
    for measured, what in ((environment, "the measurements, so that times and throughput, and verdicts on them, say little"),
                           (large_environment, "those of `make bench-large`, so that times among 20 million keys say little")):
        if other_work_ran(measured):
            said.append(f"other work ran during {what}")
    failed = sum(s.failed for s in load + ticks + libraries + sizes)
    if failed:
        said.append(f"{failed:,} requests failed")
    if int(environment.get("rounds", 3)) < 3:
        said.append("there were fewer than three rounds")
    return f"\n**Not reliable:** {'; '.join(said)}. The counts of instructions, WAL and payments are not affected.\n" if said else ""


def main():
    machine = "; ".join(f"{what} {value}" for what, value in environment.items())
    sections = [
        ("# What it costs, against its peers", answers() + f"\n`make bench` measures this again. {machine}.\n" + reservations()),
        ("## More about new keys", throughput()),
        ("## More about replays", replay()),
        ("## Responses of 1 kB and 20 kB", responses()),
        ("## A thousand duplicates", duplicates()),
        ("## Instructions and WAL", counts()),
        ("## By kind of key", by_kind()),
        ("## Live keys", live_keys()),
        ("## Steady state", steady()),
        ("## An hour's churn", churn()),
        ("## Bulk", bulk()),
        ("## More about expiry", expiry()),
        ("## Killed half-way", failures() +
         "\nThe client is killed before each of its round trips and after the last one; the server "
         "before the commit, and after it before the client knows; Redis before each round trip. Then the caller sends the key again for "
         "five seconds. The lock of the Redis recipe lasts one second here; once more with one that never expires. If Redis dies "
         "after its last answer, the result may vary: with `everysec` it may answer before it writes when the disk is busy.\n"),
        ("## Published libraries", published()),
        ("## How it is measured",
         "One client program for all candidates (`pay.c`: libpq and hiredis, a thread and its connections for each client), prepared "
         "statements, sockets of the same machine. The candidates of a table take turns in time slices on the same connections, after a "
         "round that does not count; ratios are taken within a round, and shown as median (lowest–highest). Commits are durable unless "
         "said otherwise. The hand-written function claims by `INSERT .. ON CONFLICT`, compares a hash of the request, and has no index "
         "for expiry. The Redis recipe is `SET NX`, the payment, `SET`; it compares nothing. Client and servers share the processors.\n"),
    ]
    upkeep = [
        ("# Goals", f"For those who work on the extension; [REPORT.md](REPORT.md) is for those who use it. {machine}.\n\n" + targets()),
        ("## What bounds the figures, and why some goals are not met", written("limits.md")),
        ("## What was tried", written("tried.md")),
    ]
    for name, parts in (("REPORT.md", sections), ("TARGETS.md", upkeep)):
        with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
            file.write("\n".join(f"{head}\n\n{text.rstrip()}\n" for head, text in parts if text.strip()))
        print(f"bench/{name} is written")


main()
