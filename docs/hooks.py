"""Hooks of MkDocs: files of the repository as parts of the site, and no network."""

import pathlib
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/LOG.md")
FILES = (
    *("flags/*.flags", "examples/**/*", "notebooks/*.ipynb"),
    *("LICENSE", "CITATION.cff", "tests/examples/double.py"),
)
# What Material's offline search loads.
SHIM = "https://unpkg.com/iframe-worker/shim"
LOCAL_SHIM = "assets/iframe-worker.js"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds pages and files outside of docs/ under their paths in the repository."""
    for pattern in (*PAGES, *FILES):
        for path in sorted(ROOT.glob(pattern)):
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
        return re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)
    return re.sub(r"\]\(\.\./", "](", markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Loads the search's helper from the site instead of another server."""
    return output.replace(SHIM, "../" * page.url.count("/") + LOCAL_SHIM)


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """Does the same for pages such as 404.html."""
    return output.replace(SHIM, LOCAL_SHIM)
