"""Small file systems for a queue, for tests of a full disk where this machine lets us mount one."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from postroad_harness.left_out import leave_out


@contextlib.contextmanager
def volume(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of this size on a new folder, and unmount it at the end."""
    folder.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, check=False)
    if made.returncode != 0:
        leave_out(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write a file that leaves a file system no room; return the file."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return ballast
