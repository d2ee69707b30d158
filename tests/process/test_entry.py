"""Whole processes, as a supervisor and a user at a terminal see them."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from postroad.testing.patience import patient

PROGRAM = """
    import asyncio, logging, os, sys
    from dataclasses import dataclass
    from postroad.process import entry
    from postroad.telemetry import logs, tracing
    from postroad.process.errors import StartupError
    from postroad.units.secret import Secret
    from postroad.process.settings import setting

    @dataclass(frozen=True, slots=True)
    class Settings:
        workers: int = setting(1, minimum=1)
        token: Secret | None = None

    async def build(process, settings):
        async def drain():
            print("drained", flush=True)
        async def hang():
            print("hanging", flush=True)
            await asyncio.Event().wait()
        async def give_back():
            logs.get_logger("part").info("lanes are released")
        mode = os.environ.get("MODE")
        if mode == "startup-error":
            raise StartupError("the state folder is in use; stop the other postroad")
        if mode == "bug":
            raise KeyError("x")
        if mode == "no descriptors":
            raise OSError(24, "Too many open files", "nats.conf")
        if mode == "denied":
            open("/proc/1/nothing-here/x")
        process.on_drain("part", hang if mode == "hang" else drain)
        if mode == "lanes":
            process.on_stop("part", give_back)
        if mode == "shown":
            print("built", flush=True)
        with tracing.span("test.span"):
            pass

    entry.main("ingress", Settings, build)
"""

Started = subprocess.Popen[str]
Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts the program with variables added to the environment."""
    program = tmp_path / "program.py"
    program.write_text(dedent(PROGRAM), encoding="utf-8")
    running: list[Started] = []

    def started(environ: Mapping[str, str], **options: object) -> Started:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
        process: Started = subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-I", str(program)],
            env=clean | dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


def events(errors: str) -> list[str]:
    return [json.loads(line)["event"] for line in errors.splitlines()]


def until_started(process: Started) -> None:
    assert process.stderr is not None
    while json.loads(process.stderr.readline())["event"] != "started":
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_and_ends_with_0(start: Start, number: signal.Signals) -> None:
    process = start({"POSTROAD_TOKEN": "t0ps3cret"})
    until_started(process)
    process.send_signal(number)
    output, errors = process.communicate()
    assert process.returncode == 0
    assert output == "drained\n"
    assert events(errors) == ["draining", "stopped"]
    assert "t0ps3cret" not in errors


@pytest.mark.parametrize("closed", [(2,), (0, 2)])
def test_a_process_without_standard_error_runs(start: Start, closed: Sequence[int]) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    process = start({"MODE": "shown"}, preexec_fn=close)
    assert process.stdout is not None
    assert process.stdout.readline() == "built\n"
    process.terminate()
    output, _ = process.communicate()
    assert (process.returncode, output) == (0, "drained\n")


def test_a_process_that_is_to_outlive_its_terminal_does(start: Start) -> None:
    process = start({}, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    until_started(process)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert (process.returncode, output) == (0, "drained\n")


def test_a_second_signal_forces_the_end(start: Start) -> None:
    process = start({"MODE": "hang"})
    until_started(process)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "hanging\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM


def test_wrong_settings_end_with_2_and_all_of_them_told(start: Start) -> None:
    process = start({"POSTROAD_WORKERS": "0", "POSTROAD_LOG_LEVEL": "loud", "POSTROAD_HTTP": "x"})
    output, errors = process.communicate()
    assert process.returncode == 2
    assert output == ""
    assert errors == (
        "postroad ingress: 3 settings cannot be used:\n"
        "  POSTROAD_LOG_LEVEL: 'loud' is not one of debug, info, warning, error\n"
        "  POSTROAD_HTTP: 'x' is not HOST:PORT, such as 127.0.0.1:2525 or [::1]:2525\n"
        "  POSTROAD_WORKERS: 0 is less than 1\n"
    )


@pytest.mark.parametrize("role", ["ingress", "delivery", "operator"])
@pytest.mark.parametrize(
    ("argument", "code", "said"),
    [("--help", 0, "environment variables"), ("--version", 0, "0."), ("--port=25", 2, "--port=25")],
)
def test_a_process_of_a_role_takes_no_arguments_and_does_not_start_with_one(
    role: str, argument: str, code: int, said: str
) -> None:
    command = [sys.executable, "-Im", f"postroad.{role}", argument]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert said in (ended.stderr if code else ended.stdout)
    assert "POSTROAD_NATS_URL" not in ended.stderr, "it has not looked at its settings"


def test_a_slip_in_the_name_of_a_setting_is_warned_of(start: Start) -> None:
    slip = {"POSTROAD_WROKERS": "2", "POSTROAD_SMTP_PORT": "2525"}
    _, errors = start({**slip, "MODE": "startup-error"}).communicate()
    told = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    warned = [line for line in told if line["level"] == "warning"]
    # The other is a setting of another process, which shares the environment.
    assert [(line["setting"], line["reason"]) for line in warned] == [
        ("POSTROAD_WROKERS", "did you mean POSTROAD_WORKERS?")
    ]


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("startup-error", "the state folder is in use; stop the other postroad"),
        ("bug", "cannot start: KeyError: 'x'"),
        (
            "no descriptors",
            "cannot start: no file descriptors are left; raise the limit of open files"
            " (ulimit -Hn, LimitNOFILE; fs.file-max for the whole machine)",
        ),
        ("denied", "cannot start: /proc/1/nothing-here/x: No such file or directory"),
    ],
)
def test_a_failed_start_is_one_line_and_code_1(start: Start, mode: str, sentence: str) -> None:
    process = start({"MODE": mode})
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.splitlines()[-1] == f"postroad ingress: {sentence}"
    assert "Traceback" not in errors


def test_readiness_is_told_on_the_pipe(start: Start) -> None:
    reader, writer = os.pipe()
    process = start({"POSTROAD_NOTIFY_FD": str(writer)}, pass_fds=(writer,))
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert json.loads(pipe.readline()) == {"ready": False}  # from the start on
        while json.loads(pipe.readline()) == {"ready": False}:
            pass
        process.send_signal(signal.SIGTERM)
        told = [json.loads(line)["ready"] for line in pipe]
    assert told == sorted(told, reverse=True)  # each may come more than once
    assert told[-1] is False
    process.communicate()
    assert process.returncode == 0


def test_a_supervised_process_leaves_ctrl_c_to_its_supervisor(start: Start) -> None:
    """Also in its last moments, when a process without a loop would be interrupted."""
    process = start({"POSTROAD_PARENT_PID": str(os.getpid())})
    until_started(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert (process.returncode, output) == (0, "drained\n")
    assert events(errors) == ["draining", "stopped"]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_process_dies_with_its_parent(start: Start, tmp_path: Path) -> None:
    supervisor = """
        import os, subprocess, sys
        env = dict(os.environ, POSTROAD_PARENT_PID=str(os.getpid()))
        reader, writer = os.pipe()
        child = subprocess.Popen([sys.executable, "-I", sys.argv[1]],
            env=env | {"POSTROAD_NOTIFY_FD": str(writer)}, pass_fds=(writer,))
        os.read(reader, 1)
        print(child.pid, flush=True)
        child.wait()
    """
    script = tmp_path / "supervisor.py"
    script.write_text(dedent(supervisor), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-I", str(script), str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 0
        parent.kill()
        # The child holds the other end of this pipe: it ends when, and only when, the child does.
        assert parent.stdout.read() == b""


def test_a_process_whose_parent_is_gone_does_not_start(start: Start) -> None:
    other = os.getppid()
    process = start({"POSTROAD_PARENT_PID": str(other)})
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors == f"postroad ingress: the process {other} that started this one is gone\n"


def test_an_idle_process_imports_no_pydantic_and_no_opentelemetry() -> None:
    looking = (
        "import sys, postroad.process.entry; "
        "print([name for name in ('pydantic', 'opentelemetry', 'ruamel') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-Ic", looking], check=True, capture_output=True, text=True
    )
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("listens", [True, False], ids=["silent", "away"])
def test_a_collector_without_an_answer_does_not_hold_up_the_end(
    start: Start, listens: bool
) -> None:
    # Three seconds each: as long as a collector is waited for.
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        if listens:
            collector.listen()
        port = collector.getsockname()[1]
        endpoint = f"http://127.0.0.1:{port}"
        process = start({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "MODE": "lanes"})
        until_started(process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=patient(8))
    assert process.returncode == 0
    ours = ("lanes are released", "the last traces were not exported in time", "stopped")
    # What others wait for comes before what takes seconds.
    assert [event for event in events(errors) if event in ours] == list(ours)


def test_a_crash_leaves_no_memory_on_the_disk(start: Start) -> None:
    process = start({})
    until_started(process)
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]
