"""Sessions that documents show: taken out, run, and compared with what is shown."""

import os
import re
import subprocess

from harness import HANGS, SOURCE, same

DOCS = os.path.join(SOURCE, "docs")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def commands_of(lines):
    """Pairs of a command and the lines it is shown to print. "> " continues a command."""
    pairs = []
    for line in lines:
        if line.startswith("$ "):
            pairs.append([line[2:], []])
        elif line.startswith("> ") and pairs and not pairs[-1][1]:
            pairs[-1][0] += "\n" + line[2:]
        elif pairs:
            pairs[-1][1].append(line)
        else:
            raise AssertionError(f"output before any command: {line}")
    return pairs


def run_session(s, pairs, shell=("bash",)):
    """What each command prints, standard error included; $? is that of the one before."""
    script = "".join(
        f"status=$?; printf '\\n\\001%d\\n' {number}; (exit $status)\n{command}\n"
        for number, (command, _) in enumerate(pairs)
    )
    ended = subprocess.run([*shell, "-c", f"exec 2>&1\n{script}"], cwd=s.dir, env=s.env,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=HANGS)
    pieces = re.split("\n\x01[0-9]+\n", ended.stdout.decode("utf-8"))
    same(len(pieces), len(pairs) + 1)
    return pieces[1:]


def compare(where, pairs, printed, wildcard):
    for (command, expected), got in zip(pairs, printed):
        got_lines = got.rstrip("\n").split("\n") if got.strip("\n") else []
        # Failures and results come from different descriptors and may change places.
        patterns = [re.escape(line).replace(re.escape(wildcard), ".*") for line in expected]
        matches = len(got_lines) == len(patterns) and all(
            any(re.fullmatch(pattern, line) for line in got_lines) for pattern in patterns
        )
        assert matches, (
            f"{where}\n$ {command}\nshown:\n  " + "\n  ".join(expected)
            + "\nprinted:\n  " + "\n  ".join(got_lines)
        )


def console_blocks(text):
    return [line for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
            for line in block.splitlines()]
