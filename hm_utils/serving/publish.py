"""List the published versions of a model, or go back to one of them.

    python -m hm_utils.serving.publish [--artifacts-dir artifacts]
    python -m hm_utils.serving.publish --version 20260120T101530.123456Z-1f2e3d4c

The version is verified and tried before the link moves. A running service takes it with its next poll.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hm_utils.files import resolve
from hm_utils.serving.bundle import BundleError, current, publish_again, versions
from hm_utils.serving.trial import try_model


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hm_utils.serving.publish", description="List the published versions, or go back to one."
    )
    parser.add_argument("--artifacts-dir", type=Path, default=Path("artifacts"), help="(default: %(default)s)")
    parser.add_argument("--version", help="the version to publish again")
    options = parser.parse_args(arguments)
    artifacts_dir = resolve(options.artifacts_dir)
    try:
        if options.version is not None:
            publish_again(artifacts_dir, options.version, try_model)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    published = current(artifacts_dir)
    for folder in versions(artifacts_dir):
        print(f"{folder.name}{'  published' if folder.resolve() == published else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
