"""Execute one notebook through papermill, in this Python, with lines of progress."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from textwrap import shorten
from typing import Any, TextIO

import papermill
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import strip_color

from hm_utils.pipeline.reports import INJECTED

logger = logging.getLogger(__name__)

ENGINE = "hm_utils"
CHECKOUT = Path(__file__).parents[2]
# Jupyter's own tag of a cell that may fail: cells that only show something have it, so that no figure or table stops a
# run. JupyterLab shows the traceback and goes on.
MAY_FAIL = "raises-exception"
START_SECONDS = 300  # a kernel may take long to start on a busy machine
BAR_SECONDS = 15.0  # between two lines of a progress bar in a log file


class CellFailed(Exception):
    """A notebook stopped at a cell.

    ``where`` has ``message``, ``at`` (the innermost frame), ``traceback``, ``cell`` (the cell's number),
    ``execution_count`` and ``source`` (the cell's first line).
    """

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(where["message"])
        self.where = where


class Progress:
    """Writes a line for each cell, and the cell's output below it.

    A progress bar rewrites its line with carriage returns. A terminal gets them all; a log file gets a line every
    :data:`BAR_SECONDS`. A stream that cannot show a sign gets its escape, and nothing is written after a reader such as
    ``head`` has gone: neither is a fault of the notebook.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stdout
        self.began = time.monotonic()
        self._bar_shown = 0.0
        self._open = ""  # the start of an unfinished line
        self._gone = False  # whether nobody reads the stream

    def line(self, text: str) -> None:
        self.flush()
        self._print(f"{time.monotonic() - self.began:6.0f} s  {text}\n")

    def output(self, text: str) -> None:
        """Output of a cell: lines, parts of lines, or updates of a progress bar."""
        *complete, self._open = (self._open + text.replace("\r\n", "\n")).split("\n")
        for line in complete:
            self._show(line.rsplit("\r", 1)[-1])
        if "\r" in self._open:
            self._show_bar(self._open.rstrip("\r").rsplit("\r", 1)[-1])

    def flush(self) -> None:
        """End an unfinished line."""
        left, self._open = self._open.rstrip("\r").rsplit("\r", 1)[-1], ""
        self._show(left)

    def _show(self, line: str) -> None:
        erase = "\r\x1b[K" if self.stream.isatty() else ""
        if line.strip():
            self._print(f"{erase}          | {line}\n")
        elif erase:
            self._print(erase)

    def _show_bar(self, bar: str) -> None:
        if not bar.strip():
            return
        if self.stream.isatty():
            self._print(f"\r\x1b[K          | {bar}")
        elif time.monotonic() - self._bar_shown >= BAR_SECONDS:
            self._bar_shown = time.monotonic()
            self._print(f"          | {bar}\n")

    def _print(self, text: str) -> None:
        if self._gone:
            return
        encoding = self.stream.encoding or "utf-8"
        try:
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self.stream.flush()
        except (OSError, ValueError) as error:  # the reader is gone, or the disk of a log file is full
            logger.warning("no more progress is shown: %s", error)
            self._gone = True


def execute(path: Path, output: Path, parameters: dict[str, Any], progress: Progress) -> None:
    """Run a notebook with parameters; the executed copy goes to ``output``, saved after every cell.

    Raises:
        CellFailed: a cell raised, the kernel died, or papermill failed. The partial copy is kept.
    """
    state: dict[str, Any] = {}
    try:
        papermill.execute_notebook(
            str(path), str(output), parameters,
            engine_name=ENGINE, kernel_name="python3", language="python", cwd=str(path.parent), progress_bar=False,
            start_timeout=START_SECONDS, progress=progress, state=state,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        message = f"{error.ename}: {error.evalue}".strip(": ")
        traceback = strip_color("\n".join(error.traceback))
        frames = [line for line in traceback.splitlines() if line.startswith(("File ", "Cell "))]
        at = frames[-1] if frames else None
        raise CellFailed({**state, "message": message, "at": at, "traceback": traceback}) from error
    except DeadKernelError as error:
        message = "the kernel died: the machine is out of memory, or native code crashed"
        raise CellFailed({**state, "message": message, "at": None, "traceback": ""}) from error
    except Exception as error:  # papermill itself failed: a full disk, a kernel that does not start
        logger.debug("papermill failed", exc_info=True)
        raise CellFailed(
            {**state, "message": f"{type(error).__name__}: {error}", "at": None, "traceback": ""}
        ) from error
    finally:
        progress.flush()


class _Kernel(AsyncKernelManager):
    """A kernel of this Python, even if the user has installed another one as python3."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if zmq.has("curve"):
            self.transport_encryption = "auto"  # without it, a kernel warns at every start

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(
            argv=argv, display_name="Python 3", language="python", metadata={"supported_encryption": ["curve"]}
        )


class _Client(PapermillNotebookClient):
    """papermill's client, which also reports cells and their output to ``progress``."""

    def __init__(self, manager: Any, progress: Progress, state: dict[str, Any], **options: Any) -> None:
        super().__init__(manager, on_cell_execute=self._report, on_cell_executed=self._put_errors_in_words, **options)
        self.progress, self.state, self.section = progress, state, ""
        code = [i for i, cell in enumerate(self.nb.cells) if cell.cell_type == "code" and cell.source.strip()]
        own = [i for i in code if INJECTED not in self.nb.cells[i].metadata.get("tags", [])]
        # Numbered as in the committed notebook, without the injected cell.
        self.numbers = {index: own.index(index) + 1 if index in own else None for index in code}
        self.total = len(own)

    def _report(self, cell: NotebookNode, cell_index: int) -> None:
        first_line = next(line for line in cell.source.splitlines() if line.strip())
        number = self.numbers[cell_index]
        count = self.code_cells_executed + 1
        self.state.update(cell=number, source=first_line, execution_count=count)
        if number:
            section = _section(self.nb.cells[:cell_index])
            # The first cell under a heading is named by the heading, the others by their first line.
            title = section if section != self.section else shorten(first_line, 80, placeholder="…")
            self.progress.line(f"      {number:2}/{self.total}  {title}")
            self.section = section

    def _put_errors_in_words(self, cell: NotebookNode, cell_index: int, execute_reply: Any) -> None:
        """Replace the error of a cell that may fail by a sentence."""
        if MAY_FAIL in cell.metadata.get("tags", []):
            for place, output in enumerate(cell.outputs):
                if output.output_type == "error":
                    reason = shorten(strip_color(f"{output.ename}: {output.evalue}"), 300, placeholder="…")
                    words = f"Not shown: {reason.strip(': ')}."
                    cell.outputs[place] = new_output("display_data", {"text/plain": words})
                    self.progress.output(words + "\n")

    def process_message(self, *arguments: Any, **options: Any) -> Any:
        output = super().process_message(*arguments, **options)
        if output and output.output_type == "stream":
            self.progress.output("".join(output.text))
        return output


class _Engine(NBClientEngine):
    """papermill's engine with this client and kernel."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, progress: Progress, state: dict[str, Any], **options: Any
    ) -> NotebookNode:
        client = _Client(
            nb_man, progress, state,
            kernel_name=kernel_name, kernel_manager_class=_Kernel, startup_timeout=options["start_timeout"],
            timeout=None, iopub_timeout=60, coalesce_streams=True, log=logger,
            # A graceful shutdown takes seconds and may print a traceback; the kernel has nothing left to save.
            shutdown_kernel="immediate",
        )  # fmt: skip
        # Another backend in the user's environment would remove the figures from the reports.
        environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        if (CHECKOUT / "pyproject.toml").exists():  # a kernel runs this code, even if another checkout is installed
            paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(paths)
        return client.execute(env=environment)


papermill_engines.register(ENGINE, _Engine)


def _section(before: list[NotebookNode]) -> str:
    """The nearest heading above a cell."""
    lines = [line for cell in before if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return next((line.lstrip("#").strip() for line in reversed(lines) if line.startswith("#")), "")
