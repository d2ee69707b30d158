"""
The last landed commit as users run it: its code with the packages of this environment.

Its code comes out of the history of this clone, so a shallow clone cannot run what needs it.
"""

import compileall
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

# What the build beside this takes over. Another commit belongs here when what is stored changes.
BASE = "b6b15fdde820da98f4c796497156401427e507d7"

ROOT = Path(__file__).parents[5]
_CODE = ("services", "operator/src", "proto", "charts/postroad/files")


class NoHistory(Exception):
    """This clone lacks the commit."""


def earlier_source(folder: Path, *, commit: str = BASE) -> Path:
    """Write the code of a commit into a folder, and return that; NoHistory if it is not there."""
    archive, source = folder / "source.tar", folder / "source"
    words = ("git", "-C", str(ROOT), "archive", f"--output={archive}", commit, "--", *_CODE)
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    if said.returncode:
        raise NoHistory(
            f"this clone lacks the commit {commit[:8]}, whose queue is to be taken over; get the"
            f" whole history with `git fetch --unshallow` ({said.stderr.strip()})"
        )
    shutil.unpack_archive(archive, source)
    return source


def interpreter_of(source: Path, environment: Path) -> str:
    """Make an environment with the code in a folder; return its interpreter."""
    venv.create(environment, symlinks=True)
    compileall.compile_dir(source, quiet=1)  # else each of its processes does it, at once
    [packages] = environment.glob("lib/python*/site-packages")
    code = [*source.glob("services/*/src"), source / "operator" / "src", source / "proto"]
    # Packages of this environment come after it; its own code, in a .pth file there, does not.
    (packages / "earlier.pth").write_text(
        "\n".join(map(str, [*code, sysconfig.get_path("purelib")]))
    )
    server = Path(sys.executable).with_name("nats-server")
    (environment / "bin" / "nats-server").symlink_to(server)
    return str(environment / "bin" / "python")
