"""Clean the text of picture books: captions without markup, and licenses by their names."""

import html
import re

MARKUP = (  # patterns that are replaced, in this order, and their replacements
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
    """Return one line without Markdown, HTML, Liquid and kramdown, white space folded; empty for markup alone."""
    for pattern, replacement in MARKUP:
        markdown = pattern.sub(replacement, markdown)
    for _ in range(2):  # emphasis within emphasis
        markdown = EMPHASIS.sub(r"\2", markdown)
    return " ".join(html.unescape(ESCAPE.sub(r"\1", markdown)).split())


def story_license(text: str) -> str | None:
    """Return "CC BY" for a license such as `[CC-BY]`, with its version where it has one; `None` for any other."""
    label = re.sub(r"\(.*?\)", "", text).strip(" \t[]*_").upper()
    match = CC_BY.fullmatch(label)
    return match and (f"CC BY {match[1]}" if match[1] else "CC BY")


def rights_license(text: str) -> str | None:
    """Return `CC BY 4.0` where a statement of rights grants that license and names no restriction, else `None`."""
    return "CC BY 4.0" if CC_BY_4.search(text) and not RESTRICTED.search(text) else None
