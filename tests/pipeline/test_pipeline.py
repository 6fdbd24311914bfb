"""The pipeline on tiny notebooks: parameters, order, failures, and the files of a run."""

from __future__ import annotations

import errno
import html
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import hm_utils
from hm_utils.pipeline import __main__ as pipeline
from hm_utils.pipeline.notebook_runner import Progress
from hm_utils.pipeline.parameters import ParameterError, check, declared_parameters
from hm_utils.pipeline.reports import write_report
from hm_utils.plotting import style

Write = Callable[..., Path]

PREPARE = """\
data_dir = "data/raw"  # the raw tables
artifacts_dir = "artifacts"  # everything that a run writes
test_days = 7  # the last days are the test
"""
TRAIN = """\
artifacts_dir = "artifacts"  # everything that a run writes
test_days = 7  # the last days are the test
num_epochs = 20  # passes over the examples
learning_rate = 0.001  # of Adam
use_in_batch_negatives = True  # else sampled pairs
hidden_dims = [256, 128]  # widths of the towers' layers
article_columns: list[str] = []  # further columns
device = "auto"  # auto, cpu or cuda
train_weeks: int | None = None  # None: all
"""


def write_notebook(folder: Path, name: str, parameters: str | None, *cells: str) -> Path:
    nodes = [new_markdown_cell(f"# {name}\n\nText.")]
    if parameters is not None:
        nodes.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    nodes += [new_markdown_cell(cell) if cell.startswith("#") else new_code_cell(cell) for cell in cells]
    folder.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=nodes), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    """A folder with two notebooks that write their parameters to a log in artifacts_dir."""
    folder = tmp_path / "notebooks"
    note = "import hm_utils, json, os, sys\nfrom pathlib import Path\nlog = Path(artifacts_dir, 'log.jsonl')\n"
    write_notebook(
        folder, "01_prepare", PREPARE,
        note + "row = ['prepare', data_dir, test_days, sys.executable, os.getcwd(), hm_utils.__file__]\n"
        "log.open('a').write(json.dumps(row) + '\\n');",
        "## A figure",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint('a line of the cell')",
    )  # fmt: skip
    write_notebook(
        folder, "02_train", TRAIN,
        note + "log.open('a').write(json.dumps(['train', num_epochs, learning_rate, hidden_dims, device]) + '\\n');",
        "Path(artifacts_dir, 'models', 'v1').mkdir(parents=True)\nPath(artifacts_dir, 'model').symlink_to('models/v1')",
    )  # fmt: skip
    return folder


def log_of(artifacts: Path) -> list[list[Any]]:
    return [json.loads(line) for line in (artifacts / "log.jsonl").read_text().splitlines()]


class TestRun:
    """One run of two notebooks."""

    @pytest.fixture
    def artifacts(self, tmp_path: Path, notebooks: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        # A user's own python3 kernel and plotting backend make no difference.
        kernel = tmp_path / "jupyter" / "kernels" / "python3"
        kernel.mkdir(parents=True)
        argv = ["/nowhere/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "mine", "language": "python"}))
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
        monkeypatch.setenv("MPLBACKEND", "agg")
        monkeypatch.chdir(tmp_path)
        return tmp_path / "out"

    def test_a_run(self, artifacts: Path, notebooks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "out").mkdir()
        code = pipeline.main([
            "--data-dir", "mine", "--artifacts-dir", "out", "--notebooks-dir", str(notebooks),
            "-p", "num_epochs", "5", "-p", "test_days", "3", "-p", "hidden_dims", "[64]", "-p", "learning_rate", "1",
        ])  # fmt: skip
        assert code == 0

        # In order, each with the parameters that it declares; relative folders start at the working directory.
        prepare, train = log_of(artifacts)
        assert prepare[:3] == ["prepare", str(tmp_path / "mine"), 3]
        assert train == ["train", 5, 1.0, [64], "auto"]
        assert type(train[2]) is float
        assert Path(prepare[3]) == Path(sys.executable), "another kernel than this Python's"
        assert prepare[5] == hm_utils.__file__, "the code of another checkout"
        assert Path(prepare[4]) == notebooks, "as in JupyterLab, a notebook runs in its own folder"

        (run_dir,) = (artifacts / "runs").glob("*/")
        manifest = json.loads((run_dir / "run.json").read_text())
        assert manifest["run_id"] == run_dir.name
        assert manifest["status"] == "done"
        assert manifest["error"] is None
        assert manifest["published"] == "models/v1"
        assert manifest["ended"] >= manifest["started"]
        assert manifest["parameters"] == {
            "data_dir": str(tmp_path / "mine"), "artifacts_dir": str(artifacts),
            "num_epochs": 5, "test_days": 3, "hidden_dims": [64], "learning_rate": 1.0,
        }  # fmt: skip
        assert [notebook["status"] for notebook in manifest["notebooks"]] == ["done", "done"]
        assert "num_epochs" not in manifest["notebooks"][0]["parameters"]
        assert manifest["environment"]["versions"]["torch"].startswith("2.")

        executed = nbformat.read(run_dir / "01_prepare.ipynb", as_version=4)
        assert "image/png" in str(executed), "no figure"
        page = (run_dir / "01_prepare.html").read_text()
        assert "data:image/png" in page or "image/png;base64" in page
        text = html.unescape(re.sub(r"<[^>]+>", "", page))  # without the tags of syntax highlighting
        assert "a line of the cell" in text
        closed = re.findall(r'<details class="code"><summary>.*?</details>', page, flags=re.DOTALL)
        folded = html.unescape(re.sub(r"<[^>]+>", "", "".join(closed)))
        assert "plt.plot" in folded, "the code is gone, or is not folded"
        assert f'data_dir = "{tmp_path / "mine"}"' in text
        assert "# the raw tables" not in folded, "the parameters are folded"
        assert (run_dir / "02_train.html").exists()
        assert 'href="02_train.html"' in page, "no way to the next report"
        index = (run_dir / "index.html").read_text()
        for link in ("01_prepare.html", "02_train.html", "01_prepare.ipynb", "../index.html"):
            assert f'href="{link}"' in index, link
        assert manifest["effective"]["device"] == "auto", "the defaults are part of what ran"
        assert f'href="{run_dir.name}/index.html"' in (artifacts / "runs" / "index.html").read_text()

        said = capsys.readouterr().out
        for line in (
            "[1/2] 01_prepare",
            "A figure",
            "| a line of the cell",
            "[2/2] 02_train done in",
            str(run_dir),
            "models/v1",
        ):
            assert line in said, line
        # The committed notebooks are unchanged.
        assert 'execution_count": null' in (notebooks / "01_prepare.ipynb").read_text()


class TestFailure:
    @pytest.fixture
    def failing(self, tmp_path: Path) -> Path:
        folder = tmp_path / "notebooks"
        write_notebook(folder, "01_first", "n = 1  # a number", "n + 1")
        write_notebook(
            folder, "02_second", "n = 1  # a number", "print('reached')",
            "# the first line\nraise ValueError('articles.csv has no column article_id')", "print('never')",
        )  # fmt: skip
        write_notebook(folder, "03_third", None, "1")
        return folder

    def test_the_run_stops_and_says_where(
        self, failing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # The first line of this code cell must not start with '#', which would make it a heading.
        node = nbformat.read(failing / "02_second.ipynb", as_version=4)
        node.cells[3] = new_code_cell("limit = 12\nraise ValueError('articles.csv has no column article_id')")
        nbformat.write(node, failing / "02_second.ipynb")

        arguments = ["--artifacts-dir", str(tmp_path / "out"), "--notebooks-dir", str(failing), "-p", "n", "2"]
        assert pipeline.main(arguments) == 1

        said = capsys.readouterr().err
        assert "02_second, code cell 3 (In [4]) failed" in said
        assert "limit = 12" in said
        assert "ValueError: articles.csv has no column article_id" in said
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) <= 6, "a wall of text"

        (run_dir,) = (tmp_path / "out" / "runs").glob("*/")
        manifest = json.loads((run_dir / "run.json").read_text())
        assert manifest["status"] == "failed"
        assert manifest["published"] is None
        assert [notebook["status"] for notebook in manifest["notebooks"]] == ["done", "failed", "waiting"]
        assert manifest["error"]["notebook"] == "02_second"
        assert manifest["error"]["cell"] == 3
        assert "\x1b" not in manifest["error"]["traceback"]

        kept = nbformat.read(run_dir / "02_second.ipynb", as_version=4)
        assert "reached" in str(kept)
        assert "never\\n" not in str([cell.get("outputs") for cell in kept.cells])
        assert "no column article_id" in (run_dir / "02_second.html").read_text()
        assert not (run_dir / "03_third.ipynb").exists()
        index = (run_dir / "index.html").read_text()
        assert "articles.csv has no column article_id" in index
        assert "failed in 02_second" in (run_dir.parent / "index.html").read_text()

    def test_a_cell_that_may_fail_says_why_and_the_run_goes_on(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "notebooks"
        fails = "raise KeyError('<b>holds for</b>')"
        path = write_notebook(folder, "01_first", "n = 1  # a number", fails, "print('published')")
        node = nbformat.read(path, as_version=4)
        node.cells[2].metadata["tags"] = ["raises-exception"]
        nbformat.write(node, path)
        assert pipeline.main(["--artifacts-dir", str(tmp_path / "out"), "--notebooks-dir", str(folder)]) == 0
        assert "Not shown: KeyError: '<b>holds for</b>'." in capsys.readouterr().out
        (report,) = (tmp_path / "out" / "runs").glob("*/01_first.html")
        page = report.read_text()
        assert "Not shown: KeyError: '<b>holds for</b>'." in html.unescape(page)
        assert "<b>holds" not in page
        assert "published" in page

    def test_a_kernel_that_dies_is_a_failure_too(self, tmp_path: Path) -> None:
        folder = tmp_path / "notebooks"
        write_notebook(folder, "01_first", None, "import os\nos._exit(3)")
        result = pipeline.run(artifacts_dir=tmp_path / "out", notebooks_dir=folder)
        assert result.status == "failed"
        assert result.error is not None
        assert "kernel died" in result.error["message"]
        assert result.error["cell"] == 1

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_interrupted(self, number: signal.Signals, tmp_path: Path) -> None:
        folder = tmp_path / "notebooks"
        started = tmp_path / "started"
        write_notebook(
            folder,
            "01_first",
            None,
            f"import os, time\nopen({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)",
        )
        command = [sys.executable, "-m", "hm_utils.pipeline"]
        arguments = ["--artifacts-dir", str(tmp_path / "out"), "--notebooks-dir", str(folder)]
        process = subprocess.Popen(
            [*command, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            # A background job of a shell ignores SIGINT, one of nohup SIGHUP, and so do their children.
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        )
        try:
            deadline = time.monotonic() + 60
            while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
                time.sleep(0.05)
            kernel = int(started.read_text())
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130
        assert "interrupted in 01_first" in said
        assert len(said.strip().splitlines()) == 2, "noise around it"
        (manifest,) = (tmp_path / "out" / "runs").glob("*/run.json")
        assert json.loads(manifest.read_text())["status"] == "interrupted"
        with pytest.raises(ProcessLookupError):
            os.kill(kernel, 0)

    def test_a_full_disk_is_a_failure_and_leaves_no_run_running(
        self, notebooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save = pipeline.RunResult.save

        def fails_when_full(run: pipeline.RunResult) -> None:
            if (run.run_dir / "01_prepare.html").exists() and (run.run_dir / pipeline.RESERVE).exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            save(run)

        monkeypatch.setattr(pipeline.RunResult, "save", fails_when_full)
        (tmp_path / "out").mkdir()
        assert pipeline.main(["--artifacts-dir", str(tmp_path / "out"), "--notebooks-dir", str(notebooks)]) == 1
        assert "No space left on device" in capsys.readouterr().err
        (manifest,) = (tmp_path / "out" / "runs").glob("*/run.json")
        assert json.loads(manifest.read_text())["status"] == "failed"
        assert not (manifest.parent / pipeline.RESERVE).exists()

    @pytest.mark.parametrize("folder", ["file", "file/below", "/proc/none"])
    def test_an_artifacts_folder_that_cannot_be_written(
        self, notebooks: Path, tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        options = ["--artifacts-dir", str(tmp_path / folder), "--notebooks-dir", str(notebooks)]
        assert pipeline.main(options) == 2
        assert f"error: artifacts_dir {tmp_path / folder} cannot be written (" in capsys.readouterr().err

    def run_in_a_shell(self, folder: Path, out: Path, after: str = "", **environment: str) -> tuple[int, str]:
        write_notebook(folder, "01_first", "n = 1  # a number", "# Überschrift → 1", "print('Größe → 2')")
        command = f"{sys.executable} -m hm_utils.pipeline --artifacts-dir {out} --notebooks-dir {folder}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{command} {after}"], capture_output=True, text=True, errors="replace",
            env=os.environ | environment,
        )  # fmt: skip
        (manifest,) = (out / "runs").glob("*/run.json")
        assert json.loads(manifest.read_text())["status"] == "done", done.stderr
        return done.returncode, done.stdout + done.stderr

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
    def test_signs_that_the_output_does_not_have(self, encoding: str, tmp_path: Path) -> None:
        code, said = self.run_in_a_shell(
            tmp_path / "notebooks", tmp_path / "out", PYTHONIOENCODING=f"{encoding}:strict"
        )
        assert code == 0
        assert "\\u2192 2" in said
        assert "done in" in said

    def test_a_reader_that_goes_away(self, tmp_path: Path) -> None:
        code, said = self.run_in_a_shell(tmp_path / "notebooks", tmp_path / "out", after="| head -n 1")
        assert code == 0
        assert "Traceback" not in said
        assert "Exception" not in said


class TestParameters:
    def refuse(self, notebooks: Path, tmp_path: Path, *given: str) -> None:
        options = ["--artifacts-dir", str(tmp_path / "out"), "--notebooks-dir", str(notebooks)]
        pairs = [word for pair in zip(given[::2], given[1::2], strict=True) for word in ("-p", *pair)]
        assert pipeline.main([*options, *pairs]) == 2
        assert not (tmp_path / "out").exists(), "something was started"

    def test_an_unknown_name(self, notebooks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.refuse(notebooks, tmp_path, "num_epoch", "5")
        said = capsys.readouterr().err
        assert "unknown parameter num_epoch: did you mean num_epochs?" in said
        assert "01_prepare, 02_train declare: article_columns, artifacts_dir, data_dir, device" in said

    def test_every_mistake_is_reported_at_once(
        self, notebooks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.refuse(notebooks, tmp_path, "test_days", "1.5", "num_epochs", "many", "nonsense", "1")
        said = capsys.readouterr().err
        assert "01_prepare, 02_train: test_days must be int (e.g. 7), got '1.5'" in said
        assert "02_train: num_epochs must be int (e.g. 20), got 'many'" in said
        assert "unknown parameter nonsense" in said

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("batch_size", "1", "batch_size must be 2 or more, got 1"),
            ("batch_size", "0", "batch_size must be 2 or more, got 0"),
            ("seed", "-1", "seed must be 0 or more, got -1"),
            ("val_days", "0", "val_days must be 1 or more, got 0"),
            ("ensemble_size", "0", "ensemble_size must be 1 or more, got 0"),
            ("learning_rate", "0", "learning_rate must be above 0, got 0"),
            ("device", "gpu", 'device must be "auto", "cpu", "cuda"'),
            ("device", "CPU", "got 'CPU'"),
            ("device", "cuda:99", "device must be one of this machine, which has "),
            ("publish_if", "best", "publish_if must be one of 'better', 'not worse', 'always', got 'best'"),
            ("engine", "dask", 'engine must be "local" (this machine) or "ray"'),
            ("num_workers", "2", 'num_workers=2 needs engine="ray"'),
            ("user_tower", "my_towers", "user_tower: a tower class is named package.module:Class"),
            ("item_features", "none.parquet", "item_features: there is no file "),
        ],
    )
    def test_a_value_that_cannot_be_is_refused_before_the_first_notebook(
        self, tmp_path: Path, name: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pipeline.main(["--artifacts-dir", str(tmp_path / "out"), "-p", name, value]) == 2
        assert not (tmp_path / "out").exists(), "something was started"
        assert words in capsys.readouterr().err

    def test_twice(self, notebooks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.refuse(notebooks, tmp_path, "num_epochs", "5", "num_epochs", "6")
        assert "given more than once: num_epochs" in capsys.readouterr().err

    def test_a_selection_of_notebooks(self, notebooks: Path) -> None:
        find = pipeline.find_notebooks
        assert [path.stem for path in find(notebooks)] == ["01_prepare", "02_train"]
        assert [path.stem for path in find(notebooks, start="02")] == ["02_train"]
        assert [path.stem for path in find(notebooks, only="01_prepare")] == ["01_prepare"]
        with pytest.raises(ParameterError, match="no notebook 07; there are 01_prepare, 02_train"):
            find(notebooks, start="07")
        with pytest.raises(ParameterError, match="no numbered notebooks"):
            find(notebooks.parent)

    @pytest.mark.parametrize(
        ("name", "given", "taken"),
        [
            ("num_epochs", "5", 5),
            ("num_epochs", 5, 5),
            ("learning_rate", "1", 1.0),
            ("learning_rate", "1e-2", 0.01),
            ("learning_rate", 1, 1.0),
            ("use_in_batch_negatives", "False", False),
            ("use_in_batch_negatives", "true", True),
            ("hidden_dims", "[128, 64]", [128, 64]),
            ("hidden_dims", "[]", []),
            ("article_columns", "brand", ["brand"]),
            ("article_columns", "[brand, pack size]", ["brand", "pack size"]),
            ("article_columns", '["1", "x"]', ["1", "x"]),
            ("article_columns", "", []),
            ("device", "auto", "auto"),
            ("device", "cpu", "cpu"),
            ("train_weeks", "None", None),
            ("train_weeks", "null", None),
            ("train_weeks", "8", 8),
        ],
    )
    def test_values_that_fit(self, notebooks: Path, name: str, given: object, taken: object) -> None:
        value = check([notebooks / "02_train.ipynb"], {name: given})["02_train"][name]
        assert value == taken
        assert type(value) is type(taken)

    @pytest.mark.parametrize(
        ("name", "given"),
        [
            ("num_epochs", "5.0"),
            ("num_epochs", "True"),
            ("num_epochs", True),
            ("num_epochs", ""),
            ("num_epochs", None),
            ("learning_rate", "fast"),
            ("learning_rate", "nan"),
            ("learning_rate", True),
            ("use_in_batch_negatives", "1"),
            ("use_in_batch_negatives", 1),
            ("use_in_batch_negatives", "yes"),
            ("hidden_dims", "128"),
            ("hidden_dims", '["a"]'),
            ("hidden_dims", "[1.5]"),
            ("device", 1),
            ("device", "5"),
            ("device", "gpu"),
            ("device", "CPU"),
            ("device", "cuda:99"),
            ("num_epochs", "0"),
            ("learning_rate", "0"),
            ("learning_rate", "-1"),
            ("hidden_dims", "[64, 0]"),
            ("train_weeks", "0"),
            ("train_weeks", "some"),
        ],
    )
    def test_values_that_do_not_fit(self, notebooks: Path, name: str, given: object) -> None:
        with pytest.raises(ParameterError, match=f"02_train: {name} must be "):
            check([notebooks / "02_train.ipynb"], {name: given})

    @pytest.mark.parametrize(
        ("cell", "complaint"),
        [
            ("import os", "'import os' in the parameters cell declares no parameter"),
            ("n = 3 * k", "the default of n must be a literal, not 3 \\* k"),
            ("n: int", "declares no parameter"),
        ],
    )
    def test_a_parameters_cell_is_plain(self, tmp_path: Path, cell: str, complaint: str) -> None:
        path = write_notebook(tmp_path / "notebooks", "01_first", cell)
        with pytest.raises(ParameterError, match=complaint):
            declared_parameters(path)

    def test_a_file_that_is_no_notebook(self, tmp_path: Path) -> None:
        path = tmp_path / "01_first.ipynb"
        path.write_text("{}")
        with pytest.raises(ParameterError, match="is not a notebook"):
            declared_parameters(path)


def test_the_report_has_the_figures_alternative_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(style, "display", shown.append)
    figure, axes = plt.subplots()
    axes.set_title("Prices", loc="left")
    style.show(figure, 'Less than <0.02> & "so".')
    plt.close(figure)
    data, metadata = shown[0]._repr_mimebundle_()  # as a kernel stores it
    figures = [new_output("display_data", data, metadata=metadata), new_output("display_data", data)]
    nbformat.write(new_notebook(cells=[new_code_cell("draw()", outputs=figures)]), tmp_path / "report.ipynb")
    assert write_report(tmp_path / "report.ipynb")
    described, plain = re.findall(r"<img[^>]*>", (tmp_path / "report.html").read_text())
    ((_, alt),) = re.findall(r"""alt=(["'])(.*?)\1""", described)
    assert html.unescape(alt) == 'Figure: Prices. Less than <0.02> & "so".'
    assert 'alt=""' in plain
    assert re.search(r'width="\d+"', described), "without a width, an image for sharp screens is too large"


class TestProgress:
    def test_a_bar_in_a_log_file_is_not_a_thousand_lines(self) -> None:
        stream = io.StringIO()
        progress = Progress(stream)
        for i in range(1_000):
            progress.output(f"\repoch 1: {i} examples")
        progress.output("\rloss 0.5 after epoch 1\nsecond ")
        progress.output("line\nunfinished")
        progress.line("next cell")
        lines = [line.strip() for line in stream.getvalue().splitlines()]
        assert "| loss 0.5 after epoch 1" in lines
        assert "| second line" in lines
        assert "| unfinished" in lines
        assert sum("examples" in line for line in lines) == 1
        assert lines[-1].endswith("next cell")
