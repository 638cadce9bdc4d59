"""Text of the picture books: captions without markup, titles to compare, and which licences are allowed."""

import html
import re

MARKUP = (  # what is taken away, in this order, and what stands in its place
    (re.compile(r"<!--.*?-->|\{%.*?%\}|\{\{.*?\}\}|\{:.*?\}", re.DOTALL), " "),  # comments, Liquid, kramdown attributes
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), " "),  # images
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),  # links
    (re.compile(r"</?[A-Za-z][^<>]*>"), " "),  # HTML
    (re.compile(r"^\s*(?:([-*_=])(?:\s*\1){2,}|#+)\s*$", re.MULTILINE), " "),  # rules and empty headings
    (re.compile(r"^\s*(?:#{1,6}|>|[*+])\s+", re.MULTILINE), ""),  # headings, quotations, lists
    (re.compile(r"\\\s*$", re.MULTILINE), " "),  # hard breaks
)
EMPHASIS = re.compile(r"(?<![\w\\])(\*{1,3}|_{1,3}|`)(?=\S)(.+?)(?<=[^\s\\])\1(?!\w)", re.DOTALL)
ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!>~|])")
CC_BY = re.compile(r"CC[ -]*BY(?:[ -]*(\d\.\d))?")
RESTRICTED = re.compile(r"non-?\s?commercial|no-?\s?deriv|share-?\s?alike|\bby[- ](?:nc|nd|sa)\b", re.IGNORECASE)
CC_BY_4 = re.compile(r"licenses/by/4\.0|Attribution 4\.0|\bCC[ -]BY 4\.0\b", re.IGNORECASE)


def plain_text(markdown: str) -> str:
    """One line without Markdown, HTML, Liquid and kramdown, white space folded; empty where nothing else is there."""
    for pattern, replacement in MARKUP:
        markdown = pattern.sub(replacement, markdown)
    for _ in range(2):  # emphasis within emphasis
        markdown = EMPHASIS.sub(r"\2", markdown)
    return " ".join(html.unescape(ESCAPE.sub(r"\1", markdown)).split())


def story_license(text: str) -> str | None:
    """The name of a licence such as `[CC-BY]`, "CC BY", with its version where it has one; `None` for any other."""
    label = re.sub(r"\(.*?\)", "", text).strip(" \t[]*_").upper()
    found = CC_BY.fullmatch(label)
    return found and (f"CC BY {found[1]}" if found[1] else "CC BY")


def rights_license(text: str) -> str | None:
    """`CC BY 4.0` where a statement of rights grants that licence and names no restriction, else `None`."""
    return "CC BY 4.0" if CC_BY_4.search(text) and not RESTRICTED.search(text) else None
