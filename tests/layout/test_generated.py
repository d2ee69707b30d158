"""Generated code matches its schemas."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_protobuf_code_is_fresh(tmp_path: Path) -> None:
    schemas = sorted(ROOT.glob("proto/postroad/proto/**/*.proto"))
    assert schemas
    subprocess.run(
        [
            *(sys.executable, "-Im", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"),
            *(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"),
            *map(str, schemas),
        ],
        check=True,
    )
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*_pb2.py*")}
    committed = {
        path.relative_to(ROOT / "proto"): path.read_bytes()
        for path in (ROOT / "proto").rglob("*_pb2.py*")
        if path.suffix in {".py", ".pyi"}
    }
    assert made.keys() == committed.keys(), "run `make proto`"
    stale = [str(name) for name, content in made.items() if committed[name] != content]
    assert stale == [], "run `make proto`"
