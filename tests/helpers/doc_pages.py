"""The documentation as text: its pages, their anchors, and the code that stands in them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: what a user reads
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
#: what links into it, or is linked from it
LINKING = [
    *(*PAGES, ROOT / "CHANGELOG.md", ROOT / "bench" / "README.md"),
    *(ROOT / "examples" / "data" / "README.md", *sorted((ROOT / "bench" / "results").glob("*.md"))),
    *sorted((ROOT / "src").rglob("*.md")),
]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fenced(text: str, language: str = r"\w*") -> list[str]:
    """Blocks between fences of a language, of any if none is given."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def prose(text: str) -> str:
    """What is left without fences and indented blocks."""
    text = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.M | re.S)
    return re.sub(r"(?:^|(?<=\n\n))(?: {4}.*\n|\n)+", "\n", text)


def indented(text: str) -> list[str]:
    """Blocks that are indented by four places, as typed."""
    text = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.M | re.S)
    found = re.findall(r"(?:^|(?<=\n\n))(?: {4}.*\n)(?: {4}.*\n|\n(?= {4}))*", text)
    return [re.sub(r"^ {4}", "", block, flags=re.M) for block in found]


def anchors(page: Path) -> set[str]:
    """Of every heading, as GitHub makes them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {s if not i else f"{s}-{i}" for s, n in found.items() for i in range(n + 1)}


def python(text: str) -> list[str]:
    """Blocks of Python; what begins with an import needs no fence to be one."""
    bare = [b for b in indented(text) if re.match(r"(?:import|from) \w", b)]
    return [*fenced(text, "python"), *bare]


def commands(text: str) -> list[list[str]]:
    """What stands on lines of its own to be typed, without the prompt's tunesmith. Lines that show
    a syntax, with [OPTIONS] or a choice, are none."""
    lines = re.sub(r"\\\n *", "", "\n".join([*indented(text), *fenced(text, "(?:bash|sh)")]))
    typed = [line for line in lines.splitlines() if line.startswith("tunesmith ")]
    shown = [line for line in typed if "[OPTIONS]" not in line and "[--json]" not in line]
    return [shlex.split(re.split(r" {2,}#| > ", line)[0], comments=True)[1:] for line in shown]


def mentioned(text: str) -> list[list[str]]:
    """Commands within a sentence: an option may be all that is said of one."""
    spans = re.findall(r"`(tunesmith [a-z][^`]*)`", prose(text))
    return [shlex.split(" ".join(span.split()))[1:] for span in spans]


def codes(text: str) -> list[str]:
    """Code within sentences and tables."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]
