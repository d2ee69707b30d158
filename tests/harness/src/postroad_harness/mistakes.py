"""Manifests with mistakes, and the messages about them."""

from pathlib import Path

from postroad.manifests.compiler.check import check

# An object of any kind, up to its spec, which begins in line 5.
HEAD = "apiVersion: postroad.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec:\n"


def mistakes_of(text: str, folder: Path, name: str = "m.yaml") -> list[str]:
    """Return the mistakes of one file as the command prints them, without the folder."""
    file = folder / name
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return [str(mistake).removeprefix(f"{folder}/") for mistake in check([file]).mistakes]
