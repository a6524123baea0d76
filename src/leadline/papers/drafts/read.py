"""A paper's file, whatever its format → its text and tables."""

from __future__ import annotations

import errno
import hashlib
import re
from pathlib import Path

from leadline.errors import UserError
from leadline.papers.drafts.document import PaperText, collect_texts
from leadline.papers.drafts.html import read_html
from leadline.papers.drafts.html_tree import parse_html
from leadline.papers.drafts.jats import read_jats
from leadline.papers.drafts.pdf import read_pdf
from leadline.papers.drafts.plain import read_plain
from leadline.papers.drafts.xml_tree import parse_xml

MIB = 2**20
LARGEST = 100 * MIB
# Thirty pages have a hundred thousand.
MOST_LETTERS = 2_000_000
XML_BEGINS = (
    b"<?xml", b"<article", b"<!DOCTYPE article", b"<pmc-articleset", b"\xff\xfe<", b"\xfe\xff",
)  # fmt: skip
IS_HTML = re.compile(rb"<!doctype\s+html|<html[\s>]", re.IGNORECASE)


def read_paper(path: Path) -> PaperText:
    """Read JATS XML, HTML, text or PDF; the content tells which, not the name.

    Raises
    ------
    UserError
        When the file is missing, too large, empty, broken or of no format that is read.
    """
    content = _bytes(path)
    name = path.name
    format_ = format_of(content)
    if format_ == "pdf":
        title, passages, tables = read_pdf(content, name)
    elif format_ == "jats":
        title, passages, tables = read_jats(parse_xml(content, name), name)
    elif format_ == "html":
        title, passages, tables = read_html(parse_html(_decoded(content, name)))
    else:
        title, passages, tables = read_plain(_decoded(content, name))
    if not passages and not tables:
        raise UserError(
            "a paper must have text",
            got=f"none in {name}, read as {format_}",
            remedy="give the paper as JATS, HTML, text or PDF with text",
        )
    letters = sum(len(passage.text) for passage in passages)
    if letters > MOST_LETTERS:
        raise UserError(
            f"a paper may have {MOST_LETTERS:,} letters of text",
            got=f"{letters:,} in {name}",
            remedy="give the paper without its supplementary data",
        )
    return PaperText(
        file=name,
        digest=hashlib.sha256(content).hexdigest(),
        format=format_,
        title=title,
        passages=tuple(passages),
        tables=tuple(tables),
        absent=() if tables else ("tables",),
        texts=collect_texts(tuple(passages), tuple(tables)),
    )


def _bytes(path: Path) -> bytes:
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():
            raise OSError(errno.EINVAL, "no file, but a device or a pipe")
        size = path.stat().st_size
        if size > LARGEST:
            raise UserError(
                f"a paper may have {LARGEST // MIB} MB",
                got=f"{size / MIB:,.0f} MB in {path.name}",
                remedy="give the text without its figures",
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            "a paper must be a file that can be read",
            got=f"{path} ({error.strerror or error})",
            remedy="look at the path",
        ) from error


def format_of(content: bytes) -> str:
    """Tell the format by the first bytes: pdf, html, jats or text."""
    head = content[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"%PDF"):
        return "pdf"
    if IS_HTML.search(head):
        return "html"
    if head.startswith(XML_BEGINS):
        return "jats"
    return "html" if re.match(rb"<[a-zA-Z!]", head) else "text"


def _decoded(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Old pages are Latin; every byte is a letter there, so that nothing can fail.
        text = content.decode("cp1252", errors="replace")
    if "\0" in text:
        raise UserError(
            "a paper must be JATS, HTML, text or PDF",
            got=f"{name} with bytes that are no text",
            remedy="give the paper in one of these formats",
        )
    return text
