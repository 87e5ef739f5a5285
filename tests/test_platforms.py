"""What a serial board needs runs where POSIX is not: nothing of POSIX alone is imported or called.

It is taken away here, as it is missing on Windows; nothing else of Windows is tried.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

import tinyodl
from tests.projects import flat_model
from tinyodl.targets.boards import load_board
from tinyodl.virtual import host

ROOT = Path(__file__).parent.parent

# Other people's packages have parts of their own for Windows: they are imported before.
WITHOUT_POSIX = """
import importlib, os, signal, socket, sys
for name in ("capstone", "elftools.elf.elffile", "jinja2", "numpy", "onnxruntime.quantization",
             "onnx.version_converter", "platformio.dependencies", "pydantic", "rich.progress",
             "rich_click", "serial.tools.list_ports", "serial.urlhandler.protocol_socket",
             "subprocess", "tempfile", "unicorn"):
    importlib.import_module(name)
for name in ("fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "killpg", "uname", "getuid", "umask", "pread", "pwrite",
             "O_NOFOLLOW"):
    delattr(os, name)
for module, name in ((signal, "SIGHUP"), (signal, "SIGKILL"), (socket, "AF_UNIX")):
    delattr(module, name)
"""

FROM_MODEL_TO_EXPORT = """
import numpy as np
import tinyodl
from tinyodl.cli.main import tinyodl as commands

model, project, port, out = sys.argv[1:]
commands(["compile", model, "--board", "nrf52840_dk", "-o", out + "/p"], standalone_mode=False)
commands(["plan", model, "--board", "host", "--html", out + "/plan.html"], standalone_mode=False)
with tinyodl.Session(project, port) as session:
    x = np.eye(4, dtype=np.float32)
    summary = session.train(x, [0, 1, 0, 1], eval=(x, [0, 1, 0, 1]), run=out + "/run")
    session.export(out + "/learned.onnx")
commands(["report", out + "/run", "--html", out + "/run.html"], standalone_mode=False)
print(summary.status, summary.samples)
"""


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_sessions_import_where_fcntl_is_not() -> None:
    without = "import sys\nsys.modules['fcntl'] = None\n"
    done = run(without + "import tinyodl.session.session, tinyodl.session.flashing")
    assert done.returncode == 0, done.stderr


def test_no_module_of_the_package_needs_posix() -> None:
    scripts = ("__main__", "__init__", "probe", "standin_builder", "zig_as_gcc")
    names = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in sorted((ROOT / "tinyodl").rglob("*.py"))
        if path.stem not in scripts
    ]
    assert len(names) > 150
    script = WITHOUT_POSIX + "for name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    done = run(script, *names)
    assert done.returncode == 0, done.stderr


def test_compile_learn_report_and_export_do_without_posix(tmp_path: Path) -> None:
    model, project = flat_model(tmp_path / "flat.onnx"), tmp_path / "board"
    tinyodl.compile(model, "host", project)
    tinyodl.flash(project)
    board = host.boot(project, load_board("host"))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            """The board's line as a TCP socket, until the other end closes it."""
            with listener.accept()[0] as line:
                while True:
                    ready, _, _ = select.select([line, board._from], [], [])
                    if line in ready:
                        if not (data := line.recv(4096)):
                            return
                        board.write(data)
                    if board._from in ready:
                        line.sendall(board.read(0.0))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = f"socket://127.0.0.1:{listener.getsockname()[1]}"
        done = run(WITHOUT_POSIX + FROM_MODEL_TO_EXPORT, model, project, port, tmp_path)
    board.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done 4"
    for name in ("p/tinyodl.json", "plan.html", "run/run.json", "run.html", "learned.onnx"):
        assert (tmp_path / name).stat().st_size > 0
