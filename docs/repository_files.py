"""A hook of MkDocs that adds to the site the files of the repository it links to."""

import pathlib
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/LOG.md")
FILES = ("flags/*.flags", "examples/**/*", "notebooks/*.ipynb")
SINGLE_FILES = ("LICENSE", "CITATION.cff", "tests/examples/double.py")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds pages and files outside of docs/ under their paths in the repository."""
    paths = [ROOT / name for name in (*PAGES, *SINGLE_FILES)]
    paths += [path for pattern in FILES for path in ROOT.glob(pattern)]
    for path in paths:
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Makes links to files outside of docs/ links within the site."""
    if page.file.src_uri in PAGES:
        # From the repository's root, where docs/ is a folder.
        return re.sub(r"\]\((\.\./)*docs/", r"](\1", markdown)
    return re.sub(r"\]\(\.\./", "](", markdown)
