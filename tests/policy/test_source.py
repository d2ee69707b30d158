"""A file read in pieces equals the file read whole, and an edit costs only what it changed."""

import errno
import os
from pathlib import Path

import pytest

from postroad.manifests.compiler.check import check
from postroad.manifests.files import paths as source_files
from postroad.manifests.files.reader import ManifestReader
from postroad.manifests.files.yaml_nodes import YamlMistake, count_lines, cut, read_documents
from postroad.manifests.objects import Declared
from postroad_harness.mistakes import HEAD

DOMAIN = (
    "apiVersion: postroad.dev/v1alpha1\nkind: Domain\nmetadata: {{name: d{0}}}\nspec:\n"
    "  domain: d{0}.test\n  receive: {{route: {{hosts: [{{host: real.test}}]}}}}\n"
)
TEXTS = [
    "",
    "a: 1",
    "a: 1\n---\nb: 2\n---\nc: 3\n",
    "---\na: 1\n---\n---\n# nothing\n---\nb: [1,\n 2]\n",
    "--- {a: 1}\n--- [b]\n---\tc\n",
    "a: 1\n...\nb: 2\n---\nc: 3\n",
    "%YAML 1.2\n---\na: yes\n...\n%YAML 1.1\n---\na: yes\n",
    "a: |\n  text\n  --- indented\n---x: no marker\n----: nor this\n",
    "a: >\n\n  folded\n\n---\nb: 1\n",
    "a: 1\r\n---\r\nb: 2\r\n",
    "a: 1\u2028b: 2\u2028---\u2028c: 3\n---\nd: 4\n",
    "--- |\n text\n--- >\n other\n",
    "a: &x 1\n---\nb: *x\n",
    'a: "begun\n---\nb: 2\n',
    "a: [1,\n---\nb: 2\n",
    "a: 1\n---\n\tb: 2\n---\nc: 3\n",
    "---",
    "# only a comment\n---\n",
]


def whole(text: str) -> list[tuple[object, int]]:
    """Return each document with the line it begins at; the last is None when that is no YAML."""
    found: list[tuple[object, int]] = []
    try:
        found += [(each.value, each.lines.first) for each in read_documents(text)]
    except YamlMistake:
        found.append((None, 0))
    return found


def in_pieces(text: str) -> list[tuple[object, int]]:
    found: list[tuple[object, int]] = []
    above = 0
    for piece in cut(text):
        try:
            found += [(each.value, above + each.lines.first) for each in read_documents(piece)]
        except YamlMistake:
            return [*found, (None, 0)]
        above += count_lines(piece)
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_a_text_are_read_as_the_whole_is(text: str) -> None:
    assert "".join(cut(text)) == text
    # Of a text that is not YAML all that matters is that it is told, after what stands before it.
    assert in_pieces(text)[-1:] == whole(text)[-1:]
    assert [each for each in whole(text) if each not in in_pieces(text)] == []


def specs(reader: ManifestReader, file: Path) -> dict[str, object]:
    declared = reader.read([file]).objects.declared
    assert [each.order for each in declared] == list(range(len(declared)))
    assert all(isinstance(each, Declared) for each in declared)
    return {each.reference.key.name: each.spec for each in declared}


def test_an_edit_reads_anew_what_it_changed_and_nothing_else(tmp_path: Path) -> None:
    file, reader = tmp_path / "m.yaml", ManifestReader()
    texts = [DOMAIN.format(number) for number in range(3)]
    file.write_text("---\n".join(texts))
    before = specs(reader, file)
    texts[1] = texts[1].replace("d1.test", "new.test")
    file.write_text("# a line more\n---\n" + "---\n".join(texts))
    after = specs(reader, file)
    assert after["d1"] != before["d1"]
    assert after["d2"] is before["d2"]


def test_what_is_wrong_is_told_where_it_stands_after_an_edit_above_it(tmp_path: Path) -> None:
    file, reader = tmp_path / "m.yaml", ManifestReader()
    wrong = HEAD.format(kind="Relay") + "  mx: 3\n"
    lacking = "apiVersion: postroad.dev/v1alpha1\nkind: Client\nmetadata: {name: c}\nspec:\n"
    lacking += "  networks: [10.0.0.0/8]\n  senders: ['*']\n  relayRef: {name: none}\n"
    broken = "a: [1,\n"
    file.write_text(f"{wrong}---\n{lacking}---\n{broken}")
    lines = [mistake.line for mistake in check([file], reader=reader).mistakes]
    file.write_text(f"# one\n# two\n---\n{wrong}---\n{lacking}---\n{broken}")
    assert [each.line for each in check([file], reader=reader).mistakes] == [n + 3 for n in lines]


def test_what_left_the_files_is_forgotten(tmp_path: Path) -> None:
    file, reader = tmp_path / "m.yaml", ManifestReader()
    file.write_text(DOMAIN.format(1))
    before = specs(reader, file)
    file.write_text("")
    assert specs(reader, file) == {}
    file.write_text(DOMAIN.format(1))
    assert specs(reader, file)["d1"] is not before["d1"]


def test_a_reader_tells_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("---\n".join(DOMAIN.format(number) for number in range(3)))
    told: list[int] = []
    ManifestReader(told.append).read([tmp_path])
    assert told == [1, 2, 3]


def test_a_document_that_is_no_yaml_hides_no_mistake_of_another(tmp_path: Path) -> None:
    good, wrong = DOMAIN.format(1), DOMAIN.format(2).replace("domain:", "domian:")
    documents = ("a: [1,\n", wrong, "b: 'begun\n", good, wrong)
    (tmp_path / "a.yaml").write_text("---\n".join(documents))
    (tmp_path / "b.yaml").write_text(DOMAIN.format(3).replace("domain:", "domian:"))
    checked = check([tmp_path])
    found = [(Path(each.file).name, each.line, each.field) for each in checked.mistakes]
    assert found == [
        ("a.yaml", 2, "yaml"),
        ("a.yaml", 6, "spec.domain"),
        ("a.yaml", 7, "spec.domian"),
        ("a.yaml", 11, "yaml"),
        ("a.yaml", 21, "metadata.name"),
        ("a.yaml", 22, "spec.domain"),
        ("a.yaml", 23, "spec.domian"),
        ("b.yaml", 4, "spec.domain"),
        ("b.yaml", 5, "spec.domian"),
    ]
    assert [entry.key.name for entry in checked.compiled.entries.values()] == ["d1"]


def test_what_symbolic_links_lead_to_is_read_once(tmp_path: Path) -> None:
    """Also where they lead in a circle, and to hidden folders, as a ConfigMap volume's do."""
    for number, folder in enumerate(("conf", "elsewhere", "conf/..2026_11_29/inner", "away/inner")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"m{number}.yaml").write_text(DOMAIN.format(number))
    conf = tmp_path / "conf"
    (conf / "..data").symlink_to("..2026_11_29")
    (conf / "inner").symlink_to("..data/inner")
    (conf / "m2.yaml").symlink_to("..data/inner/m2.yaml")
    (conf / "folder").symlink_to(tmp_path / "elsewhere")
    (conf / "circle").symlink_to(conf)
    (tmp_path / "elsewhere" / "back").symlink_to(conf)
    (tmp_path / "elsewhere" / "away").symlink_to(tmp_path / "away")
    checked = check([conf])
    assert checked.mistakes == ()
    assert sorted(each.key.name for each in checked.compiled.entries.values()) == [
        "d0",
        "d1",
        "d2",
        "d3",
    ]


def test_a_tree_without_end_is_a_mistake_and_what_lies_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a link to /usr, in which hardly anything is a manifest."""
    monkeypatch.setattr(source_files, "MAX_ENTRIES", 10)
    conf, tree = tmp_path / "conf", tmp_path / "usr"
    for folder in (conf / "good", *(tree / f"f{number}" for number in range(3))):
        folder.mkdir(parents=True)
        for number in range(5):
            (folder / f"{number}.txt").touch()
    for number, folder in enumerate((conf, conf / "good", tree / "f1")):
        (folder / "m.yaml").write_text(DOMAIN.format(number))
    (conf / "tree").symlink_to(tree)
    [mistake], compiled = check([conf])
    assert str(mistake) == (
        f"{conf}: there are more than 10 files and folders in it and behind its links, and nothing"
        f" was read from {conf}/tree on; name some of its folders"
    )
    assert sorted(entry.key.name for entry in compiled.entries.values()) == ["d0", "d1"]
    (conf / "tree").unlink()
    assert check([conf]).mistakes == ()


def test_a_folder_that_cannot_be_read_is_a_mistake_and_takes_nothing_out_of_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "m.yaml").write_text(DOMAIN.format(1))
    before = check([tmp_path]).compiled.entries
    scandir = os.scandir

    def forbidden(folder: str) -> object:
        if Path(folder).name == "inner":
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", forbidden)  # root, as whom tests may run, may read all
    mistakes, compiled = check([tmp_path], last_good=before)
    assert [(Path(each.file).name, each.field, each.reason) for each in mistakes] == [
        ("inner", "folder", "cannot be read: Permission denied")
    ]
    assert compiled.entries == before
