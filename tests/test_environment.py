"""pyproject.toml, the locks and environment.yml agree."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import hm_utils

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]


def lock_lines(name: str) -> list[str]:
    """A requirement with its hashes a line."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


LOCK_LINES = lock_lines("requirements.lock")
SERVE_LINES = lock_lines("requirements-serve.lock")  # a part of requirements.lock
CLUSTER_LINES = lock_lines("requirements-cluster.lock")  # installed on top of the other


def locked(lines: list[str] = LOCK_LINES) -> dict[str, Requirement]:
    found = (Requirement(line.partition(" --hash")[0]) for line in lines)
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def declared() -> list[Requirement]:
    extras = [group for name, group in EXTRAS.items() if name != "cluster"]
    groups = [PROJECT["build-system"]["requires"], PROJECT["project"]["dependencies"], *extras]
    return [Requirement(line) for group in groups for line in group]


def for_the_service() -> list[Requirement]:
    return [Requirement(line) for line in PROJECT["project"]["dependencies"] + EXTRAS["serve"]]


def for_clusters() -> list[Requirement]:
    return [Requirement(line) for line in EXTRAS["cluster"]]


def pin(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    return specifier.version


@pytest.mark.parametrize(
    ("wanted", "lines"), [(declared(), LOCK_LINES), (for_the_service(), SERVE_LINES), (for_clusters(), CLUSTER_LINES)]
)
def test_declared_requirements_are_locked(wanted: list[Requirement], lines: list[str]) -> None:
    for requirement in wanted:
        found = locked(lines).get(canonicalize_name(requirement.name))
        assert found is not None, f"{requirement.name} is not locked: run `make lock`"
        assert requirement.specifier.contains(pin(found)), f"{found} is not {requirement}"
        assert str(found.marker) == str(requirement.marker)
    assert not locked().keys() & locked(CLUSTER_LINES).keys()


def test_the_service_needs_nothing_of_the_notebooks() -> None:
    """With the packages of its own lock alone the application can be imported."""
    assert set(SERVE_LINES) < set(LOCK_LINES)
    ours, packages = {"app", "hm_utils"}, set(locked(SERVE_LINES))
    others = [
        module
        for module, found in packages_distributions().items()
        if module not in ours and not {canonicalize_name(name) for name in found} & packages
    ]
    assert set(others) >= {"matplotlib", "jupyterlab", "papermill", "ipykernel"}
    code = f"import sys; sys.modules |= dict.fromkeys({others!r}); import app.main, app.__main__, hm_utils.recommend"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_pre_commit_has_the_locked_versions() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    found = {Path(one["repo"]).name.removesuffix("-pre-commit"): one["rev"].removeprefix("v") for one in repositories}
    assert found == {name: pin(locked()[name]) for name in ("ruff", "nbstripout", "codespell")}


def test_the_citation_has_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["project"]["version"] == hm_utils.__version__


def test_every_locked_line_is_one_exact_version() -> None:
    for requirement in (locked() | locked(CLUSTER_LINES)).values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert re.fullmatch(r"[0-9][0-9A-Za-z.]*", pin(requirement)), f"{requirement}: a local or wild version"
        assert requirement.url is None
    for lines in (LOCK_LINES, CLUSTER_LINES):
        assert len(locked(lines)) == len(lines), "twice"


def test_every_locked_line_has_hashes_and_torch_those_of_its_cpu_builds() -> None:
    for line in LOCK_LINES + SERVE_LINES + CLUSTER_LINES:
        assert re.fullmatch(r"[^-].*?( +--hash=sha256:[0-9a-f]{64})+", line), f"{line[:40]}: run `make lock`"
    cpu = re.findall(r"\b[0-9a-f]{64}\b", (ROOT / "Makefile").read_text())
    assert len(cpu) == 6
    for lines in (LOCK_LINES, SERVE_LINES):
        (torch,) = (line for line in lines if line.startswith("torch=="))
        assert all(one in torch for one in cpu), "run `make lock`"


@pytest.mark.parametrize(
    "lines", [LOCK_LINES, SERVE_LINES, LOCK_LINES + CLUSTER_LINES], ids=["one machine", "service", "cluster"]
)
def test_the_lock_has_everything_that_its_packages_need(lines: list[str]) -> None:
    lock = locked(lines)
    for name, requirement in lock.items():
        if requirement.marker and not requirement.marker.evaluate():
            continue
        for needed in map(Requirement, distribution(name).requires or []):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                # A GPU build of torch brings libraries that belong to the build.
                if name == "torch" and re.match(r"nvidia|cuda|triton", needed.name):
                    continue
                assert canonicalize_name(needed.name) in lock, f"{name} needs {needed}: run `make lock`"


def test_every_locked_package_takes_every_python_that_the_project_takes() -> None:
    for name, requirement in (locked() | locked(CLUSTER_LINES)).items():
        if requirement.marker is None or requirement.marker.evaluate():
            needed = SpecifierSet(distribution(name).metadata["Requires-Python"] or "")
            assert needed.contains("3.11.0"), f"{requirement} needs Python {needed}: hold it back in `make lock`"


def test_torch_is_the_tested_release_and_scann_only_where_it_has_wheels() -> None:
    assert str(locked()["torch"]) == "torch==2.13.0"
    assert "torch==2.13.0 " in (ROOT / "docs" / "installation.md").read_text()
    marker = locked()["scann"].marker
    assert marker is not None
    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    assert marker.evaluate(linux)
    assert marker.evaluate(linux | {"platform_machine": "aarch64"})
    assert not marker.evaluate({"sys_platform": "darwin", "platform_machine": "arm64"})
    assert not marker.evaluate({"sys_platform": "win32", "platform_machine": "AMD64"})


def test_conda_brings_no_library_and_every_tool_has_one_python() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["project"]["name"]
    assert environment["dependencies"] == ["python=3.11", "pip"], "libraries come from the lock, not from conda"
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    assert PROJECT["tool"]["mypy"]["python_version"] == "3.11"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py311"


# Run, or used by an imported package, but not imported.
TOOLS = {
    "pytest-xdist",  # make test
    "axe-playwright-python",  # optional in the page's tests
    "fastapi-swagger",  # app: its files
    "httptools", "uvloop",  # uvicorn
    "httpx2",  # FastAPI's TestClient
    "ipykernel", "jupyterlab",  # JupyterLab and its kernel
    "milvus-lite",  # pymilvus
    "onnx", "onnxscript",  # torch.onnx
    "codespell", "mypy", "pandas-stubs", "scipy-stubs", "types-pyyaml", "types-tqdm",  # make lint
    "nbstripout", "ruff", "setuptools",  # make
}  # fmt: skip


def imported() -> set[str]:
    """The top-level modules of other packages that the code, the tests and the notebooks import."""
    sources = [
        path.read_text() for top in ("hm_utils", "app", "tests", "benchmarks") for path in (ROOT / top).rglob("*.py")
    ]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"hm_utils", "app", "tests", "benchmarks"}


def test_imports_are_declared_and_declarations_imported() -> None:
    of_module = packages_distributions()
    used = {canonicalize_name(name) for module in imported() for name in of_module.get(module, [module])}
    asked = {canonicalize_name(requirement.name) for requirement in declared() + for_clusters()}
    assert used - asked == set(), "imported, but not in pyproject.toml"
    assert asked - used - TOOLS == set(), "in pyproject.toml, but never imported"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
class TestMakefile:
    """The commands of make, not executed, in a folder with the build files alone."""

    @pytest.fixture
    def clone(self, tmp_path: Path) -> Path:
        for name in ("Makefile", "requirements.lock", "requirements-cluster.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, tmp_path)
        return tmp_path

    def make(self, clone: Path, *arguments: str) -> str:
        done = subprocess.run(["make", "--no-print-directory", *arguments], cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_run_installs_then_makes_the_sample_then_runs(self, clone: Path) -> None:
        commands = self.make(clone, "-n", "run")
        order = ["-m venv", "install", "hm_utils.sample --out data/sample", "hm_utils.pipeline --data-dir"]
        places = [commands.index(step) for step in order]
        assert places == sorted(places)
        assert '--data-dir "data/sample" --artifacts-dir "artifacts"' in commands

    def test_an_installed_environment_is_used_until_the_lock_changes(self, clone: Path) -> None:
        (clone / ".venv" / "bin").mkdir(parents=True)
        (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
        for stamp in (clone / ".venv" / ".installed", clone / ".venv" / ".installed-cluster"):
            stamp.touch()
            os.utime(stamp, (2_000_000_000, 2_000_000_000))
        assert "install" not in self.make(clone, "-n", "lint")
        for changed in ("requirements.lock", "pyproject.toml"):
            os.utime(clone / changed, (2_000_000_001, 2_000_000_001))
            assert "install" in self.make(clone, "-n", "lint"), changed
            os.utime(clone / changed, (1_900_000_000, 1_900_000_000))

    @pytest.mark.parametrize("python", ["/nowhere/python3.11", "too old", "without the packages"])
    def test_an_environment_that_lost_its_python_is_made_anew(self, clone: Path, python: str) -> None:
        path = clone / ".venv" / "bin" / "python"
        path.parent.mkdir(parents=True)
        if python.startswith("/"):
            path.symlink_to(python)
        else:
            path.write_text(f"#!/bin/sh\necho {python} >&2; exit 1\n")
            path.chmod(0o755)
        stamp = clone / ".venv" / ".installed"
        stamp.touch()
        os.utime(stamp, (2_000_000_000, 2_000_000_000))
        assert "-m venv --clear .venv" in self.make(clone, "-n", "lab")

    def test_a_copied_or_moved_checkout_runs_its_own_code(self, clone: Path, tmp_path: Path) -> None:
        first = tmp_path / "first"
        first.mkdir()
        for path in list(clone.iterdir()):
            if path != first:
                path.rename(first / path.name)
        (first / "hm_utils").mkdir()
        (first / "hm_utils" / "__init__.py").touch()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", first / ".venv"], check=True)
        (site,) = (first / ".venv" / "lib").glob("*/site-packages")
        (site / "pip").mkdir()
        for name in ("__init__.py", "__main__.py"):  # installs nothing
            (site / "pip" / name).touch()
        self.make(first, ".venv/.installed")
        shutil.copytree(first, tmp_path / "copied", symlinks=True)
        first.rename(tmp_path / "moved")
        for name in ("copied", "moved"):
            python = [
                str(tmp_path / name / ".venv" / "bin" / "python"),
                "-c",
                "import hm_utils; print(hm_utils.__file__)",
            ]
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            done = subprocess.run(python, cwd="/", env=environment, capture_output=True, text=True, check=True)
            assert Path(done.stdout.strip()) == tmp_path / name / "hm_utils" / "__init__.py"
            assert "install" not in self.make(tmp_path / name, "-n", "lab")

    @pytest.mark.parametrize("name", ["articles.csv", "articles.csv.zip", "h-and-m.zip", "transactions_train/part.csv"])
    def test_tables_of_the_user_are_preferred_to_the_sample(self, clone: Path, name: str) -> None:
        (clone / "data" / "raw" / "images").mkdir(parents=True)
        assert "hm_utils.sample" in self.make(clone, "-n", "run")
        (clone / "data" / "raw" / name).parent.mkdir(exist_ok=True)
        (clone / "data" / "raw" / name).touch()
        commands = self.make(clone, "-n", "run")
        assert '--data-dir "data/raw"' in commands
        assert "hm_utils.sample" not in commands

    def test_settings_pass_through(self, clone: Path) -> None:
        commands = self.make(
            clone, "-n", "run", "DATA_DIR=data/mine", "ARTIFACTS_DIR=/tmp/out", 'PARAMS=-p hidden_dims "[128, 64]"'
        )
        assert '--data-dir "data/mine" --artifacts-dir "/tmp/out" -p hidden_dims "[128, 64]"' in commands
        assert "hm_utils.sample" not in commands
        commands = self.make(clone, "-n", "serve", "PORT=9000", "ARTIFACTS_DIR=/tmp/out")
        assert 'HM_MODEL="/tmp/out/model"' in commands
        assert "-m app --host" in commands
        assert "--port 9000" in commands

    def test_help_lists_the_targets(self, clone: Path) -> None:
        commands = self.make(clone)
        for target in ("run", "test", "serve", "lab", "sample", "lock", "lint", "clean", "bench"):
            assert re.search(rf"^  make {target} +\S", commands, re.MULTILINE), target

    def test_without_a_python_the_error_names_the_versions(
        self, clone: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        tools = tmp_path_factory.mktemp("bin")
        for name in ("bash", "rm", "touch"):
            (tools / name).symlink_to(str(shutil.which(name)))
        make = str(shutil.which("make"))
        done = subprocess.run([make, "lint"], cwd=clone, env={"PATH": str(tools)}, capture_output=True, text=True)
        assert done.returncode != 0
        assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr


def test_ci_runs_make_test_and_a_cut_of_the_cluster() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "not executable"
    assert script.read_text().splitlines()[0] == "#!/usr/bin/env bash"
    *_, test, _, cluster = script.read_text().splitlines()
    assert test == "make test"
    assert cluster.startswith("make test-cluster PYTEST_ARGS=")
    matrix = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())["jobs"]["checks"]["strategy"]
    loop = re.findall(r"^for version in (.*); do$", script.read_text(), re.MULTILINE)
    assert " ".join(["3.11", *loop]) == " ".join(matrix["matrix"]["python"])
    for path in re.findall(r"tests/[\w/.]+", script.read_text()):
        assert (ROOT / path).exists(), path
