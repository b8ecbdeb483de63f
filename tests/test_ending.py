"""A run that is told to stop ends all that it started, also when it is told twice."""

import os
import signal
import subprocess
import sys
import time

import psutil

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
ENDS = """
import signal, sys
from pathlib import Path
from server.flower import end
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(1))
print("ending", flush=True)
try:
    end(Path(sys.argv[1]), None)
finally:
    print(signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL), flush=True)
"""


def test_who_is_told_twice_to_stop_still_ends_what_it_started(tmp_path):
    env = {**os.environ, "QFLOCK_RUN": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", STUBBORN], env=env, stdout=subprocess.PIPE) as left:
        assert left.stdout.readline() == b"up\n"
        with subprocess.Popen([sys.executable, "-c", ENDS, tmp_path], stdout=subprocess.PIPE) as ending:
            assert ending.stdout.readline() == b"ending\n"
            for number in (signal.SIGTERM, signal.SIGINT) * 2:  # while it waits for the one that does not listen
                time.sleep(0.5)
                ending.send_signal(number)
            assert ending.stdout.read() == b"True\n"  # and then it can be told again
        assert not psutil.pid_exists(left.pid) or left.poll() == -signal.SIGKILL
