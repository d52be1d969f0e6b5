"""Guards of a training run in two processes that average their gradients. All of them slow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "processes.py"
RIGHT = [
    "plain",
    "norm",
    "dropout",
    "accumulated norm dropout",
    "view",
    "compiled",
    "unused by batch",
    "unused by rank",
    "drawn",
    "drawn unused by rank",
    "alone",
]
WRONG = ["wrong", "wrong norm dropout", "wrong accumulated", "wrong compiled", "wrong unused by rank", "wrong drawn"]
REFUSED = {
    "early accumulated": ["step 1: UsageError: `.grad` of `model[0].weight` is not the same in all processes"] * 2,
    "late": ["step 8: UsageError: in process 1 of 2: UsageError: the par", "step 8: UsageError: the parameters have"],
    "raises": ["step 1: FunctionError: in process 1 of 2: ", "step 1: FunctionError: `loss(model, batch)` raised"],
    "gathered": ["step 1: UsageError: the loss exchanges data with other processes (`c10d.allgather_.default`)"] * 2,
    "outside norm": ["step 1: UsageError: the loss exchanges data with other processes"] * 2,
    "join": ["step 1: UsageError: processes with different numbers of batches"] * 2,
}
INNER = "inner"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By case, what both processes found, without a guard and with one."""
    folder = tmp_path_factory.mktemp("processes")
    cases = [*RIGHT, *WRONG, *REFUSED, INNER]
    started = [
        subprocess.Popen([sys.executable, "-W", "ignore", SCRIPT, str(rank), folder, *cases], stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    said = "".join(one.communicate(timeout=600)[1].decode()[-2000:] for one in started)
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert all(len(rank) == len(cases) for rank in ranks), said
    return {case: [rank[case] for rank in ranks] for case in cases}


@pytest.mark.parametrize("case", RIGHT)
def test_right_training_stays_as_it_is(found, case):
    """Batches differ, random numbers too; every probe fits, and neither losses nor states change by a bit."""
    guarded = [rank[1]["said"] for rank in found[case]]
    assert guarded == ["4 of 4, CORRECT"] * 2 if case != "alone" else ["4 of 4, CORRECT", ""]
    for plain, watched in found[case]:
        assert watched["trace"] == plain["trace"]


@pytest.mark.parametrize("case", WRONG)
def test_a_backward_that_becomes_wrong_in_one_process_stops_both(found, case):
    for _, watched in found[case]:
        # (What draws random numbers in the loss is checked in float32, where the place is told less exactly.)
        path = "model[" if "drawn" in case else "model[1]:"
        assert watched["said"].startswith(f"step 12: GradientError: {path}")


@pytest.mark.parametrize("case", REFUSED)
def test_what_one_process_refuses_all_refuse(found, case):
    """Nobody waits for one that has given up."""
    for (_, watched), expected in zip(found[case], REFUSED[case], strict=True):
        assert watched["said"].startswith(expected)


def test_the_model_without_its_wrapper(found):
    """Its `.grad` is not the gradient of the loss in this process; the advice says which model to pass."""
    for _, watched in found[INNER]:
        assert watched["said"].startswith("step 1: GradientError: params")
        assert "pass the model that `DistributedDataParallel` returned" in watched["said"]


SHARDED = """
import sys, torch, gradproof, gradproof.torch
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
torch.distributed.init_process_group("gloo", f"file://{sys.argv[1]}", world_size=1, rank=0)
mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
wrapped = FullyShardedDataParallel(torch.nn.Linear(3, 1), device_id=torch.device("cpu"))
for model in (wrapped, fully_shard(torch.nn.Linear(3, 1), mesh=mesh)):
    try:
        gradproof.torch.guard(model, torch.nn.MSELoss())
    except gradproof.UsageError as error:
        print(error)
"""


def test_sharded_parameters_are_refused(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", SHARDED, tmp_path / "store"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.stdout.count("sharded over several processes") == 2, finished.stderr[-3000:]
