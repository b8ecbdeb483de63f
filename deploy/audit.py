"""`make audit`: whether a version that we pin has a known vulnerability; asks PyPI, and fails when it cannot.

pip-audit finds nothing wrong when the list that it asks is not there, as behind a mirror of the package index. So PyPI
is first asked about a package that has holes everyone knows; an answer without them is no answer.
"""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

PINNED = Path(__file__).with_name("constraints.txt")
KNOWN = "https://pypi.org/pypi/jinja2/2.4.1/json"  # CVE-2014-1402 among others
PIP_AUDIT = "pip-audit==2.10.1"
ANSWER_SECONDS = 20.0


def main() -> int:
    """pip-audit's exit code, or 2 when it would mean nothing."""
    why = unreachable()
    if why:
        sys.stderr.write(f"audit needs the internet: {why}; nothing was audited\n")
        return 2
    command = [sys.executable, "-m", "uv", "tool", "run", PIP_AUDIT, "--strict", "--no-deps", "--disable-pip"]
    return subprocess.run([*command, "--requirement", str(PINNED)], check=False).returncode


def unreachable(url: str = KNOWN) -> str:
    """Why PyPI's list of vulnerabilities cannot be asked, or nothing."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            found = json.load(answer)
    except (OSError, ValueError) as error:
        return f"{url} does not answer ({error})"
    known = found.get("vulnerabilities") if isinstance(found, dict) else None
    return "" if known else f"{url} names no vulnerability of a package that has some"


if __name__ == "__main__":
    sys.exit(main())
