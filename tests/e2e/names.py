"""Which metrics an expression or a page names.

PromQL is only cut into words here: what it means is Prometheus's business.
"""

import re

from stage import Failure

# Our own, and the process's; rules make names with colons.
OURS = re.compile(r"(?<![\w:.*-])((?:skynet|process)_[a-z0-9_]+)(?![\w:*]|\.\w|-\w|/)")
TOKEN = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<comment>\#[^\n]*)
      | (?P<number>\d[\w.]*)
      | (?P<name>[a-zA-Z_:][\w:]*)
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
# Words that are no metrics.
WORDS = set(
    "by without on ignoring group_left group_right bool and or unless offset atan2 inf nan start end "
    "sum min max avg group stddev stdvar count count_values bottomk topk quantile".split()
)
# Words that a list of labels follows.
LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}


def selectors(expression):
    """The selectors of series in an expression, as they stand there: `name{…}`, without ranges."""
    tokens = [
        (found.lastgroup, found.group())
        for found in TOKEN.finditer(expression)
        if found.lastgroup not in ("space", "comment")
    ]
    result, i = [], 0
    while i < len(tokens):
        kind, text = tokens[i]
        following = tokens[i + 1][1] if i + 1 < len(tokens) else ""
        if kind == "name" and text.lower() in LISTS and following == "(":
            i = _after(tokens, i + 1, "(", ")")
        elif kind == "name" and following != "(" and text.lower() not in WORDS:
            end = _after(tokens, i + 1, "{", "}") if following == "{" else i + 1
            result.append("".join(token for _, token in tokens[i:end]))
            i = end
        elif text == "{":
            end = _after(tokens, i, "{", "}")
            result.append("".join(token for _, token in tokens[i:end]))
            i = end
        elif text == "[":
            i = _after(tokens, i, "[", "]")
        else:
            i += 1
    return result


def _after(tokens, start, opening, closing):
    """The place after the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(tokens)):
        depth += (tokens[i][1] == opening) - (tokens[i][1] == closing)
        if depth == 0:
            return i + 1
    raise Failure(f"{opening} is not closed")


def metrics(expression):
    """The names of the metrics in an expression."""
    named = [selector.split("{")[0] for selector in selectors(expression)]
    if "" in named:
        raise Failure("a selector without a metric's name")
    return set(named)


def named_in(text):
    """The metrics that a page names: whole names only, `skynet_*` is none."""
    return set(OURS.findall(text))


def explained(page):
    """What a page's tables say of metrics: by name the cells after it, `| `name` | type | … |`."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in rows}


class Families:
    """The families of a text in Prometheus's format: their types, and the names of their samples."""

    ENDS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}

    def __init__(self, text):
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        if not self.types:
            raise Failure("the hub exports no metric")
        # The labels of each family; `le` is a histogram's own.
        self.labels = {family: set() for family in self.types}
        for name, labels in re.findall(r"^(\w+)\{(.*)\} \S+$", text, re.MULTILINE):
            found = set(re.findall(r'(?:^|,)(\w+)="(?:\\.|[^"\\])*"', labels))
            self.labels[self.family(name)] |= found - {"le"}

    def family(self, name):
        """The family that a sample or a page's name belongs to; None: it is not exported."""
        if name in self.types:
            return name
        for family, kind in self.types.items():
            if any(end and name == family + end for end in self.ENDS.get(kind, ())):
                return family
        return None
