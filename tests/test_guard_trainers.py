"""Guards in the loops of others: Lightning and transformers, alone and in two processes. All of them slow."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import gradproof
from gradproof import GradientError, Severity, UsageError, Verdict

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.slow

# In two processes the backward of Lightning's model becomes wrong in the second.
RANK = int(os.environ.get("RANK", "1"))


class Sine(torch.autograd.Function):
    """sin(x), whose backward is wrong where that is switched on."""

    is_wrong = False

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * x.cos() * (2 / 3 if Sine.is_wrong else 1)  # wrong on purpose


class Sines(nn.Module):
    def forward(self, x):
        return Sine.apply(x)


@contextlib.contextmanager
def quiet():
    """What these packages say and warn of is theirs."""
    Sine.is_wrong = False
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            Sine.is_wrong = False


def errors(report):
    return [finding for finding in report.findings if finding.severity is Severity.ERROR]


def lightning_run(*, guarded, accumulate=1, precision="32-true", wrong_from=None):
    """The losses of a run, and what watched it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightning = pytest.importorskip("lightning.pytorch")

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(6, 16), Sines(), nn.BatchNorm1d(16), nn.Dropout(0.1), nn.Linear(16, 3))
            self.seen = []

        def training_step(self, batch, index):
            if wrong_from is not None and self.global_step >= wrong_from and RANK == 1:
                Sine.is_wrong = True
            loss = F.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def on_train_batch_end(self, outputs, batch, index):
            self.seen.append((float(outputs["loss"]), float(self.trainer.callback_metrics["loss"])))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    inputs = torch.randn(320, 6, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(inputs, inputs[:, :3].argmax(1))
    with quiet():
        trainer = lightning.Trainer(
            max_epochs=3,
            accumulate_grad_batches=accumulate,
            precision=precision,
            gradient_clip_val=0.1,
            accelerator="cpu",
            devices=int(os.environ.get("WORLD_SIZE", "1")),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        watch = gradproof.torch.guard_trainer(trainer, every=5, budget=100.0, rng=0) if guarded else None
        model = Model()
        trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=16))
    return model.seen, watch


@pytest.mark.parametrize(("accumulate", "precision"), [(1, "32-true"), (3, "32-true"), (1, "bf16-mixed")])
def test_lightning(accumulate, precision):
    """Its losses and what it logs stay the same, and a backward that becomes wrong is found."""
    options = {"accumulate": accumulate, "precision": precision}
    plain, _ = lightning_run(guarded=False, **options)
    seen, watch = lightning_run(guarded=True, **options)

    assert seen == plain
    report = watch.report()
    assert report.first.verdict is Verdict.CORRECT
    assert report.fitting == len(report.probed) >= 4
    with pytest.raises(GradientError) as caught:
        lightning_run(guarded=True, wrong_from=7, **options)
    assert [finding.path for finding in errors(caught.value.report)] == ["model.net[1]"]


def transformers_run(*, guarded, accumulate=1, bf16=False, wrong_from=None, folder="."):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        pytest.importorskip("accelerate")
    losses = []

    class Trainer(transformers.Trainer):
        def training_step(self, *args, **kwargs):
            if wrong_from is not None and self.state.global_step >= wrong_from:
                Sine.is_wrong = True
            losses.append(float(loss := super().training_step(*args, **kwargs)))
            return loss

    generator = torch.Generator().manual_seed(0)
    data = [{"input_ids": ids, "labels": ids} for ids in torch.randint(17, (160, 12), generator=generator)]
    with quiet():
        torch.manual_seed(0)
        sizes = {"vocab_size": 17, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
        for block in model.transformer.h:
            block.mlp.act = Sines()
        arguments = transformers.TrainingArguments(
            str(folder),
            per_device_train_batch_size=8,
            num_train_epochs=1,
            gradient_accumulation_steps=accumulate,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            bf16=bf16,
        )
        trainer = Trainer(model, arguments, train_dataset=data)
        watch = gradproof.torch.guard_trainer(trainer, every=2, budget=100.0, rng=0) if guarded else None
        trainer.train()
    return losses, watch


@pytest.mark.parametrize(("accumulate", "bf16"), [(1, False), (2, False), (1, True)])
def test_transformers(accumulate, bf16, tmp_path):
    """A language model whose loss casts down to float32, with clipped gradients; in bfloat16 no alarm must come."""
    options = {"accumulate": accumulate, "bf16": bf16, "folder": tmp_path}
    plain, _ = transformers_run(guarded=False, **options)
    losses, watch = transformers_run(guarded=True, **options)

    assert losses == plain
    report = watch.report()
    assert report.first.verdict is Verdict.CORRECT
    assert len(report.probed) >= 5
    assert report.wrong == ()
    if not bf16:
        with pytest.raises(GradientError) as caught:
            transformers_run(guarded=True, wrong_from=5, **options)
        assert "Sine" in errors(caught.value.report)[0].kind


def run_here(kind, folder, accumulate):
    """What one of several processes finds: a run without a guard, one with, and one that becomes wrong."""
    run, options = lightning_run, {"accumulate": accumulate}
    if kind == "transformers":
        run, options = transformers_run, {"accumulate": accumulate, "folder": folder}
    plain, _ = run(guarded=False, **options)
    seen, watch = run(guarded=True, **options)
    report = watch.report()
    alarm = None
    try:
        run(guarded=True, wrong_from=2, **options)
    except GradientError as error:
        alarm = errors(error.report)[0].kind
    found = {"same": seen == plain, "first": report.first.verdict.value, "alarm": alarm}
    found["probes"] = report.fitting, len(report.probed), len(report.wrong)
    Path(folder, f"{RANK}.json").write_text(json.dumps(found))


TWO = """
import sys
sys.path.insert(0, sys.argv[1])
from test_guard_trainers import run_here
run_here(*sys.argv[2:4], int(sys.argv[4]))
"""


@pytest.mark.parametrize(("kind", "accumulate"), [("lightning", 3), ("transformers", 1)])
def test_two_processes(kind, accumulate, tmp_path):
    """The losses stay the same, all probes fit, and a backward that becomes wrong stops both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # (As `torchrun` sets them, which would import torch once more.)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_RUN_ID": "guards", "GROUP_RANK": "0", "OMP_NUM_THREADS": "1"}
    here = str(Path(__file__).parent)
    command = [sys.executable, "-W", "ignore", "-c", TWO, here, kind, str(tmp_path), str(accumulate)]
    environments = [{**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    started = [subprocess.Popen(command, env=one, stderr=subprocess.PIPE, cwd=tmp_path) for one in environments]
    said = "".join(one.communicate(timeout=900)[1].decode()[-3000:] for one in started)
    for rank in (0, 1):
        written = tmp_path / f"{rank}.json"
        assert written.exists(), said
        found = json.loads(written.read_text())
        fitting, probed, wrong = found["probes"]
        assert found["same"]
        assert found["first"] == "CORRECT"
        assert fitting == probed >= 2
        assert wrong == 0
        assert "Sine" in found["alarm"]


def test_other_trainers_are_refused():
    with pytest.raises(UsageError, match=r"gradproof\.torch\.guard"):
        gradproof.torch.guard_trainer(object(), rng=0)


def test_strategies_that_cannot_be_guarded_are_refused():
    """Several processes without `DistributedDataParallel`; and a guard that would have to be pickled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightning = pytest.importorskip("lightning.pytorch")
    with quiet():
        trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    gradproof.torch.guard_trainer(trainer, rng=0)
    (callback,) = [one for one in trainer.callbacks if type(one).__name__ == "GradproofCallback"]
    with pytest.raises(UsageError, match="cannot be sent to processes that are spawned"):
        pickle.dumps(callback)

    class Others:
        model, world_size, strategy = nn.Linear(2, 1), 2, nn.Identity()

    with pytest.raises(UsageError, match="if its strategy is `DDPStrategy`, got Identity"):
        callback.on_train_batch_start(Others, lightning.LightningModule(), None, 0)
