"""`python -m benchmarks.gpu --rehearse`: every part runs, and a call goes on where an earlier one stopped."""

from __future__ import annotations

import json

import pytest

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import parts as gpu
from benchmarks.gpu.measuring import Measured, Place


@pytest.mark.parametrize("part, name", [(part, step.name) for part, one in enumerate(gpu.PARTS) for step in one.steps])
def test_the_gpu_benchmark_can_be_rehearsed(workplace, monkeypatch, part, name):
    """Every step at toy size on the CPU, in this process; of the steps that differ in a preset only, one."""
    if name in gpu.FIVE_EPOCHS and name != "resnet" or name == "gpt compiled":
        pytest.skip("as another step")
    monkeypatch.setattr(gpu, "mlrun", lambda folder, *arguments: None)  # processes of a sweep, which other tests start
    (step,) = [one for one in gpu.PARTS[part].steps if one.name == name]
    lines = step.measure(Place(rehearse=True))
    assert lines and all(line.value for line in lines)


def test_a_call_goes_on_where_the_last_one_stopped(tmp_path, monkeypatch, capsys):
    measured = []

    def apart(number, step, place, end):
        measured.append((number, step.name))
        if step.name == "dcgan" and len(measured) < 20:
            return {"error": "out of memory"}
        return {"lines": [Measured(step.name, "1.0", "≤ 2", True).as_json()], "device": "here"}

    monkeypatch.setattr(program, "_apart", apart)
    words = ["--rehearse", "--output", str(tmp_path)]
    assert program.main([*words, "--part", "4"]) == 1  # one of its steps failed
    assert program.main([*words, "--minutes", "0"]) == 0 and "steps are left" in capsys.readouterr().out
    assert program.main(words) == 1
    assert measured.count((4, "diffusion")) == 1 and measured.count((4, "dcgan")) == 2
    assert "| diffusion | 1.0 | ≤ 2 | holds |" in (tmp_path / "gpu.md").read_text()
    assert json.loads((tmp_path / "gpu.json").read_text())["4 dcgan"] == {"error": "out of memory"}
