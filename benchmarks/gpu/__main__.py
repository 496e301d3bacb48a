"""`python -m benchmarks.gpu [--part N] [--minutes 9] [--rehearse]`: measures mlrun on one GPU and writes benchmarks/gpu.md.

Each step runs in its own process and saves its result to benchmarks/gpu.json. A later call skips the steps that have a result, and starts
no step that would exceed --minutes. --again repeats all steps. --rehearse runs every step at toy size on the CPU and writes only to --output.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.gpu.measuring import Place
from benchmarks.gpu.parts import PARTS, Step, missing_packages

HERE = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--part", type=int, choices=range(1, len(PARTS) + 1), help="only this one")
    parser.add_argument("--minutes", type=float, default=9.0, help="that the call may take")
    parser.add_argument("--rehearse", action="store_true", help="toy sizes, on the CPU")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--output", type=Path, help="directory of gpu.json and gpu.md; default: benchmarks")
    parser.add_argument("--step", help=argparse.SUPPRESS)  # of the part, in this process
    arguments = parser.parse_args(argv)
    if absent := missing_packages():
        parser.error(f"install {', '.join(absent)} first")
    place = Place(arguments.rehearse)
    if arguments.step:
        (step,) = [one for one in PARTS[arguments.part - 1].steps if one.name == arguments.step]
        print(json.dumps([line.as_json() for line in step.measure(place)]))
        return 0
    if not arguments.rehearse and not _gpu():
        parser.error("there is no GPU here; --rehearse runs the parts at toy size on the CPU")
    output = arguments.output or HERE
    found = {} if arguments.again else _read(output / "gpu.json")
    chosen = [arguments.part] if arguments.part else range(1, len(PARTS) + 1)
    end, failed, left = time.monotonic() + 60 * arguments.minutes, 0, 0
    for number in chosen:
        for step in PARTS[number - 1].steps:
            key = f"{number} {step.name}"
            if "lines" in found.get(key, {}):
                continue
            if time.monotonic() + (0 if place.rehearse else step.seconds) > end:
                left += 1
                continue
            found[key] = _apart(number, step, place, end)
            failed += "lines" not in found[key]
            if not place.rehearse or arguments.output:
                _write(output, found)
            print(f"{key}: {_told(found[key])}", flush=True)
    if left:
        print(f"{left} steps are left: call again to go on")
    return 1 if failed else 0


def _apart(number: int, step: Step, place: Place, end: float) -> dict:
    """What a step finds, in a process of its own: {lines, seconds, ...}, or {error}."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--part",
        str(number),
        "--step",
        step.name,
        *["--rehearse"] * place.rehearse,
    ]
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, end - start + 30))
    except subprocess.TimeoutExpired:
        return {"error": "it did not end in time"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    device = "rehearsed on the CPU" if place.rehearse else _gpu()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning"))
    lines = json.loads(done.stdout.splitlines()[-1])
    return {
        "lines": lines,
        "seconds": round(time.monotonic() - start),
        "device": device,
        "date": date.today().isoformat(),
        "packages": packages,
    }


def _gpu() -> str:
    """The name of the GPU; empty if there is none. Asked in another process: this one keeps no memory there."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()


def _told(found: dict) -> str:
    if "error" in found:
        return f"failed: {found['error']}"
    return "; ".join(f"{line['name']} {line['value']}" for line in found["lines"])


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write(output: Path, found: dict) -> None:
    (output / "gpu.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    text = ["# On one GPU", "", "`python -m benchmarks.gpu`; a ratio below 1 means that mlrun is faster.", ""]
    for number, part in enumerate(PARTS, start=1):
        text += [
            f"## {number}. {part.title}",
            "",
            "| measured | value | limit | verdict | note | on |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for step in part.steps:
            one = found.get(f"{number} {step.name}", {"error": "not measured yet"})
            where = f"{one.get('device', '')} {one.get('packages', '')} {one.get('date', '')}".strip()
            if "lines" not in one:
                text.append(f"| {step.name} | {one['error']} | | | | |")
                continue
            for line in one["lines"]:
                verdict = {None: "", True: "holds", False: "MISSED"}[line["holds"]]
                text.append(
                    f"| {line['name']} | {line['value']} | {line['limit']} | {verdict} | {line['note']} | {where} |"
                )
        text.append("")
    (output / "gpu.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
