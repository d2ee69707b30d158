"""Mistakes in whole objects and files: reported with their line and what to do."""

from pathlib import Path

import pytest

from postroad.manifests.compiler.check import check, examine
from postroad_harness.mistakes import HEAD, mistakes_of

RELAY = HEAD.format(kind="Relay") + "  mx: {}\n"
WHOLE_OBJECTS = [
    ("just a text", "1: document: must be a mapping with apiVersion, kind and metadata"),
    ("kind: Relay", "1: apiVersion: is required, as in every Kubernetes object"),
    ("apiVersion: v1", "1: kind: is required, as in every Kubernetes object"),
    (
        RELAY.replace("v1alpha1", "v1"),
        "1: apiVersion: 'postroad.dev/v1' is unknown; use postroad.dev/v1alpha1",
    ),
    (
        RELAY.replace("postroad.dev", "postraod.dev"),
        "1: apiVersion: 'postraod.dev/v1alpha1' is unknown; use postroad.dev/v1alpha1",
    ),
    (
        RELAY.replace("postroad.dev", "postroad.io").replace("Relay", "Relais"),
        "1: apiVersion: 'postroad.io/v1alpha1' is unknown; use postroad.dev/v1alpha1",
    ),
    (
        RELAY.replace("Relay", "Relais"),
        "2: kind: 'Relais' is not a kind of postroad.dev; did you mean Relay?",
    ),
    (
        RELAY.replace("Relay", "clients"),
        "2: kind: 'clients' is not a kind of postroad.dev; did you mean Client?",
    ),
    (
        RELAY.replace("Relay", "Mailbox"),
        "2: kind: 'Mailbox' is not a kind of postroad.dev; known are Client, Domain, DomainGrant,"
        " Quota, Relay",
    ),
    (
        RELAY.replace("Relay", "Secret"),
        "1: apiVersion: that of a Secret is v1, not 'postroad.dev/v1alpha1'",
    ),
    (
        "apiVersion: v1\nkind: Secrets\nmetadata: {name: s}\n",
        "2: kind: 'Secrets' is not a kind of v1; did you mean Secret?",
    ),
    (
        RELAY.replace("Relay", "Policy"),
        "2: kind: Policy is not supported yet; remove the object",
    ),
    (RELAY.replace("{name: x}", "{}"), "3: metadata.name: is required"),
    (RELAY.replace("metadata: {name: x}\n", ""), "1: metadata: is required: metadata: {name: ...}"),
    (
        RELAY.replace("{name: x}", "{name: My Relay}"),
        "3: metadata.name: 'My Relay' is not a name; use lower-case letters, digits, - and .",
    ),
    (
        RELAY.replace("{name: x}", "{name: x, namespace: a.b}"),
        "3: metadata.namespace: 'a.b' is not a namespace; use lower-case letters, digits and -",
    ),
    (
        RELAY.replace("{name: x}", "{name: x, namspace: a}"),
        "3: metadata.namspace: is not a field of metadata",
    ),
    (
        RELAY + "retry: {}\n",
        "6: retry: is not a field of Relay; the fields of an object belong under spec",
    ),
    (
        RELAY.replace("  mx: {}\n", "  mx: {}\n  mx: {}\n"),
        "6: spec.mx: is given twice; keep one of them",
    ),
    (
        RELAY + "---\n" + RELAY,
        "9: metadata.name: Relay default/x is declared at {folder}/m.yaml:1 already; keep one",
    ),
    (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  password: '%'\n",
        "5: data.password: is not base64; plain text goes under stringData",
    ),
    (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  password: 1234\n",
        "5: stringData.password: must be a text; put it in quotes",
    ),
    (
        "apiVersion: v1\nkind: List\nitems: {}\n",
        "3: items: must be a list of objects",
    ),
    ("apiVersion: v1\nkind: List\nitems: 3\n", "3: items: must be a list of objects"),
    (
        "apiVersion: v1\nkind: List\nitems:\n- 3\n",
        "4: items[0]: must be a mapping with apiVersion, kind and metadata",
    ),
    # Not YAML, or more than plain YAML.
    ("a: [1,\nb: 2", "2: yaml: "),
    ("a:\n\t- b", "2: yaml: found character '\\t' that cannot start any token"),
    ("a: *nobody", "1: yaml: found undefined alias; quote a value that begins with *, & or !"),
    ("a: \x01", "1: yaml: "),
    ("x: 1\na: \udcff", "2: file: is not UTF-8 text"),
    (
        "x: !!python/object/apply:os.system [id]",
        "1: x: has a tag; quote a value that begins with !",
    ),
    ("x: !env HOME", "1: x: has a tag; quote a value that begins with !"),
    ("x: !!binary aGk=", "1: x: has a tag"),
    ("a: &a {x: 1}\nb:\n  <<: *a", "3: b: has a key that is not a plain name"),
    ("? [a]\n: 1", "1: yaml: has a key that is not a plain name"),
    ("a: &a [*a]", "1: yaml: is nested deeper than 64 levels"),
    ("[" * 3000, "1: yaml: is nested deeper than 64 levels"),
]


@pytest.mark.parametrize(
    "password",
    ["*Hush-7711", "!Hush-7711", "!a!Hush-7711", "&Hush 1\n  x: &Hush 2", "*H'u'sh-7711"],
)
def test_a_password_that_is_not_quoted_is_not_told(
    password: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may begin with what means something to YAML."""
    text = f"apiVersion: v1\nkind: Secret\nstringData:\n  password: {password}\n"
    said = "\n".join(mistakes_of(text, tmp_path)) + "".join(capfd.readouterr())
    assert "m.yaml:" in said
    assert "ush" not in said
    assert "u'sh" not in said


@pytest.mark.parametrize(("text", "expected"), WHOLE_OBJECTS)
def test_a_wrong_object_or_file_is_told_where_it_stands(
    text: str, expected: str, tmp_path: Path
) -> None:
    mistakes = mistakes_of(text, tmp_path)
    assert len(mistakes) == 1
    assert mistakes[0].startswith("m.yaml:" + expected.replace("{folder}", str(tmp_path)))


def test_a_wrong_name_hides_no_other_mistake(tmp_path: Path) -> None:
    text = HEAD.format(kind="Relay").replace("{name: x}", "{name: My_X}")
    assert mistakes_of(
        text + "  destination: [a.example]\n  mx: {}\nstatus: {}\nextra: 1\n", tmp_path
    ) == [
        "m.yaml:3: metadata.name: 'My_X' is not a name; use lower-case letters, digits, - and .",
        "m.yaml:5: spec.destination: is not a field here; did you mean destinations?",
        "m.yaml:8: extra: is not a field of Relay; the fields of an object belong under spec",
    ]


def test_two_ways_out_are_told_beside_what_is_wrong_with_one_of_them(tmp_path: Path) -> None:
    text = HEAD.format(kind="Relay") + "  mx: {}\n  smarthosts: [{host: 'a b'}]\n"
    found = mistakes_of(text, tmp_path)
    assert [each.partition(": ")[2].partition(": ")[0] for each in found] == [
        "spec.smarthosts",
        "spec.smarthosts[0].host",
    ]
    assert found[0] == "m.yaml:6: spec.smarthosts: cannot go with mx; keep one of the two"


def test_aliases_count_as_what_they_repeat(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    (mistake,) = mistakes_of("\n".join(lines), tmp_path)
    assert "has more than 100000 values, aliases counted" in mistake


def test_of_a_file_that_is_not_read_no_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    (mistake,) = check([file]).mistakes
    assert str(mistake) == f"{file}: cannot be read: No such file or directory"
    file.write_text("x" * (4 * 1024 * 1024 + 1))
    (mistake,) = check([file]).mistakes
    assert str(mistake) == f"{file}: is larger than 4 MiB; split it"


def test_a_mistake_names_no_secret(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {password: 'hunter2!'}\n"
    text += "stringData: {password: [hunter2]}\n"
    assert mistakes_of(text, tmp_path)
    assert "hunter2" not in "".join(mistakes_of(text, tmp_path))


def test_json_with_tabs_is_read(tmp_path: Path) -> None:
    text = (
        '{\n\t"apiVersion": "postroad.dev/v1alpha1", "kind": "Relay",\n'
        '\t"metadata": {"name": "x"},\n\t"spec": {"mx": {},\n\t\t"limits": 3}}'
    )
    assert mistakes_of(text, tmp_path, "m.json") == [
        "m.json:5: spec.limits: must be a mapping, not 3"
    ]


def test_what_is_good_or_not_ours_is_no_mistake(tmp_path: Path) -> None:
    text = f"# nothing\n---\n---\n{RELAY}---\napiVersion: apps/v1\nkind: Deployment\n"
    text += "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {b: c}}\n"
    text += "---\napiVersion: v1\nkind: ConfigMap\n"
    (tmp_path / "m.yaml").write_text(text)
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / "notes.txt").write_text("[")
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "m.yaml").write_text("[")
    examined = examine([tmp_path])
    assert examined.checked.mistakes == ()
    assert list(examined.checked.compiled.entries) == ["relay.default.x"]
    assert examined.counts == {"Relay": 1, "Namespace": 1}
    assert examined.passed_over == ("Deployment of apps/v1", "ConfigMap of v1")


def test_a_null_field_counts_as_left_out(tmp_path: Path) -> None:
    spec = "  mx: {}\n  smarthosts: null\n  egress: {pool: default, proxy: null}\n  tls: ~\n"
    assert mistakes_of(HEAD.format(kind="Relay") + spec, tmp_path) == []


def test_a_folder_and_a_file_in_it_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(RELAY)
    assert check([tmp_path, tmp_path / "m.yaml", tmp_path]).mistakes == ()
