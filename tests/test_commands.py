"""The commands of README, docs and the folders' pages: they parse and exist. The end-to-end test sends the request."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from hm_utils.pipeline.parameters import check, declared_parameters
from tests.helpers.documentation import PAGES, ROOT, blocks, commands

MAKEFILE = (ROOT / "Makefile").read_text()
MOST_WORDS = 1_500  # of the README


def modules(words: list[str]) -> tuple[str, list[str]] | None:
    """The module of ``python -m module …`` and its arguments."""
    if "-m" in words and "python" in Path(words[words.index("-m") - 1]).name:
        name, *arguments = words[words.index("-m") + 1 :]
        return name, arguments
    return None


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MOST_WORDS


def test_the_pages_have_commands() -> None:
    found = [words for path in PAGES for words in commands(path)]
    assert sum("make" in words for words in found) > 5
    assert sum(modules(words) is not None for words in found) > 10


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_is_valid_shell(path: Path) -> None:
    for block in blocks(path):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_knows_every_target_and_variable(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE)
    variables = re.findall(r"^(\w+) \?=", MAKEFILE, flags=re.MULTILINE)
    for words in commands(path):
        if "make" not in words:
            continue
        for word in words[words.index("make") + 1 :]:
            name, equals, value = word.partition("=")
            assert name in (variables if equals else targets), f"{path.name}: {shlex.join(words)}"
            if name == "PARAMS":
                given = shlex.split(value)
                assert given[::3] == ["-p"] * (len(given) // 3), word
                check(sorted(ROOT.glob("notebooks/0*.ipynb")), dict(zip(given[1::3], given[2::3], strict=True)))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_exists_and_has_the_options(path: Path) -> None:
    for words in commands(path):
        found = modules(words)
        if found is None or not found[0].startswith(("hm_utils", "app", "benchmarks")):
            continue
        name, arguments = found
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        assert spec.origin is not None, name
        source = "".join(file.read_text() for file in sorted(Path(spec.origin).parent.glob("*.py")))
        for option in (argument for argument in arguments if argument.startswith("-")):
            assert f'"{option}"' in source, f"{path.name}: {name} has no {option}"


def test_every_install_of_a_lock_checks_hashes() -> None:
    """With pip and with uv; and PyTorch's GPU libraries, which no lock has, are added afterwards."""
    texts = ["\n".join(map(shlex.join, commands(path))) for path in PAGES]
    texts += [text.replace("\\\n", "") for text in (MAKEFILE, (ROOT / "Dockerfile").read_text())]
    assert MAKEFILE.count("--require-hashes --no-deps") == 3
    installs = [text for text in texts if re.search(r"pip install .*-r \S*requirements", text)]
    assert len(installs) == 3
    for text in installs:
        for line in re.findall(r"pip install .*-r \S*requirements\S*\.lock", text):
            assert "--require-hashes --no-deps" in line, line
        assert re.search(r"pip install .*\btorch\b", text)
    (page,) = (text for path, text in zip(PAGES, texts, strict=False) if path.name == "installation.md")
    assert "uv pip install --require-hashes" in page


def test_every_parameter_is_explained() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs" / "running.md").read_text(), re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    declared = {name for path in ROOT.glob("notebooks/0*.ipynb") for name in declared_parameters(path)}
    assert explained == declared
