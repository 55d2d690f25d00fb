"""The files around the code: licence, pages, commands, and what must not stand in any file."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib

import pytest

import stepwell.errors
from tests.arch._rules import ROOT, SRC, package_sources

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOXFILE = (ROOT / "noxfile.py").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ERRORS_PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")

# Written in two halves, so that this file does not name them either.
HOSTS = [
    *("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com"),
    *("crates" + ".io", "golang" + ".org/dl", "proxy.golang" + ".org", "conda" + ".org"),
    *("ana" + "conda.com", "deb." + "debian.org", "docker" + ".io", "gh" + "cr.io"),
]
TOP_LEVEL = {
    *("pyproject.toml", "noxfile.py", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("SECURITY.md", "constraints.txt", "src", "tests", "docs", "benchmarks", "changelog.d"),
}


def tracked_files() -> list[str]:
    """Paths below the root that belong to the project."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


FILES = tracked_files()


def error_classes() -> dict[str, type[BaseException]]:
    """The errors by code."""
    found = [
        c for _, c in inspect.getmembers(stepwell.errors, inspect.isclass) if "code" in vars(c)
    ]
    return {c.code: c for c in found if c.__module__ == "stepwell.errors"}


def test_no_file_names_the_host_of_a_package_registry():
    def lines(name: str) -> list[str]:
        return (ROOT / name).read_text(encoding="utf-8", errors="replace").lower().splitlines()

    named = [
        f"{name}:{no}"
        for name in FILES
        for no, line in enumerate(lines(name), 1)
        if _names_host(line)
    ]
    assert named == []


def _names_host(line: str) -> bool:
    return any(host in line for host in HOSTS)


def test_a_planted_host_is_seen():
    assert _names_host("index-url = https://" + HOSTS[0] + "/simple")


def test_the_top_level_holds_only_what_belongs_there():
    top = {name.partition("/")[0] for name in FILES}
    assert {name for name in top if not name.startswith(".")} - TOP_LEVEL == set()


def test_every_folder_of_tests_holds_tests():
    """An empty folder would make a session that runs nothing look green."""
    for folder in re.findall(r"tests/(\w+)", NOXFILE):
        assert list((ROOT / "tests" / folder).glob("*.py")), f"tests/{folder} is empty"


def test_errors_have_codes_of_their_own():
    named = [
        c for _, c in inspect.getmembers(stepwell.errors, inspect.isclass) if "code" in vars(c)
    ]
    assert len(error_classes()) == len(named)


def test_every_error_code_is_explained_in_the_docs():
    explained = re.findall(r"^### `(\w+)`: (\w+)$", ERRORS_PAGE, re.MULTILINE)
    assert explained, "no section found: has the form of the headings changed?"
    assert dict(explained) == {code: c.__name__ for code, c in error_classes().items()}


def test_the_docs_say_which_errors_may_be_retried():
    sections = re.split(r"^### ", ERRORS_PAGE, flags=re.MULTILINE)[1:]
    marked = {s.split("`")[1] for s in sections if "May be tried again" in " ".join(s.split())}
    assert marked == {code for code, c in error_classes().items() if getattr(c, "retryable", False)}


def test_the_docs_say_which_errors_are_only_reserved():
    """An error that no code of the package names cannot be met."""
    nodes = (node for file in package_sources() for node in ast.walk(file.tree))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    sections = re.split(r"^### ", ERRORS_PAGE, flags=re.MULTILINE)[1:]
    reserved = {s.split("`")[1] for s in sections if "*Reserved:" in s}
    bases = {"stepwell", "codec"}
    unused = {code for code, c in error_classes().items() if c.__name__ not in used} - bases
    assert reserved == unused


def test_the_commands_of_the_readme_are_jobs_of_the_noxfile():
    sessions = set(re.findall(r"^def (\w+)\(session", NOXFILE, re.MULTILINE))
    sessions |= set(re.findall(r'nox\.session\(name="([\w-]+)"', NOXFILE))
    named = re.findall(r"(?:python3 noxfile\.py|nox -s) ([\w-]+)", README)
    assert {"demo", "tests"} <= set(named)
    assert set(named) <= sessions


def test_the_noxfile_starts_without_nox():
    """Its first import of nox comes after the part that installs it."""
    code = "import sys; sys.modules['nox'] = None; sys.argv = ['noxfile.py']; import runpy\n"
    code += "import subprocess; subprocess.run = lambda *a, **k: sys.exit(7)\n"
    code += f"runpy.run_path({str(ROOT / 'noxfile.py')!r}, run_name='__main__')"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7


def test_licence_and_type_marker_are_shipped():
    assert "The Stepwell authors" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (SRC / "stepwell" / "py.typed").is_file()
    assert PROJECT["project"]["license-files"] == ["LICENSE"]


def test_the_core_needs_four_packages_and_no_more():
    names = [re.match(r"[\w-]+", line)[0] for line in PROJECT["project"]["dependencies"]]
    assert sorted(names) == ["aiosqlite", "anyio", "asyncpg", "orjson"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", README):
        assert (ROOT / target).exists(), target
