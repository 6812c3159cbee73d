"""The training loop on Lightning Fabric: one device or several; one process on a CPU resumes bit for bit."""

from __future__ import annotations

import json
import logging
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from astro_sim.errors import InputError
from astro_sim.provenance import replacing, write_json
from rmaat.data.splits import Splits, derived_seed
from rmaat.training.batches import Batch, Batches
from rmaat.training.checkpoint import TrainingProgress, load_state, save_state
from rmaat.training.cuda_graph import RecordedPass, refuse_what_no_graph_holds
from rmaat.training.evaluation import Score, WeightedMean, evaluate, nothing_to_tell, renew_trace_statistics, scored
from rmaat.training.log import CurveLog, peak_memory_mib
from rmaat.training.models import load_checkpoint
from rmaat.training.recipe import OptimisationRecipe, Recipe

log = logging.getLogger(__name__)

ROWS_PER_RUN = 60
VALIDATION = "validation.json"  # in a checkpoint: after which step it was the best, with which accuracy
BETAS = (0.9, 0.98)  # a short memory of squared gradients suits short runs and growing lengths


def learning_rate_share(progress: float, warmup: float) -> float:
    """Share of the peak learning rate at `progress` in 0..1: linear to `warmup`, then half a cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def accelerator() -> str:
    """Where there is no CUDA, the CPU: Apple's MPS has no float64, in which sums over tokens and batches are kept."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Trainer:
    """Trains one model by one recipe.

    Parameters
    ----------
    recipe : Recipe
    splits : Splits
        The examples; training reads nothing else.
    model : nn.Module
        What `scored` takes; has ``save_pretrained(folder)``.
    out : path
        Gets ``metrics.csv``, ``states/`` and ``checkpoint/`` (the weights that did best on validation).
    fabric : Fabric, optional
        A launched one; the default is one device of the best kind there is.
    """

    def __init__(self, recipe: Recipe, splits: Splits, model: nn.Module, out: Path, fabric: Fabric | None = None):
        self.recipe, self.splits, self.out = recipe, splits, Path(out)
        self.options = options = recipe.optimisation
        self.fabric = fabric or Fabric(accelerator=accelerator(), devices=1, precision=options.precision)
        if options.minutes and self.fabric.world_size > 1:  # each has its own clock
            raise InputError("minutes", options.minutes, f"steps alone, with {self.fabric.world_size} processes")
        sizes = {f"data.curriculum.{i}: batch_size": s.batch_size for i, s in enumerate(recipe.data.curriculum)}
        sizes["optimisation.batch_size"] = options.batch_size
        examples = [*map(len, splits.stages), len(splits.train)]
        for (field, size), n in zip(sizes.items(), examples, strict=True):
            if size % self.fabric.world_size or size > n:
                allowed = f"a multiple of the {self.fabric.world_size} processes, at most {n} examples"
                raise InputError(field, size, allowed)
            if size == self.fabric.world_size and getattr(model, "trace_norm", None) is not None:
                raise InputError(field, size, "at least 2 examples a process, with trace_norm")
        refuse_what_no_graph_holds(recipe, self.fabric)
        on_gpu = self.fabric.device.type == "cuda"
        groups = _groups(model, options)
        optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=BETAS, fused=on_gpu)
        self.model, self.optimizer = self.fabric.setup(model, optimizer)
        self._pass: Callable[[Tensor, Tensor, Tensor], Score] = self._forward_backward
        if options.cuda_graph:
            self._pass = RecordedPass(self._forward_backward, [p for p in model.parameters() if p.requires_grad])
        self.average = None
        if options.average:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.average))
        self.best = -1.0
        self.elapsed = self.validating = 0.0  # seconds; those of validation are among the elapsed
        self.peak_memory_mib = 0.0
        self.tokens_seen = self._counted = 0
        self.batches = Batches(recipe, splits, self.fabric)
        self._since = self._clock()  # the present row of the curves began
        self.loss_mean, self.accuracy = (WeightedMean().to(self.fabric.device) for _ in range(2))

    def _clock(self) -> float:
        """Seconds of training since any moment: without those in which stages were drawn."""
        return time.monotonic() - self.batches.drawing

    @property
    def _modules(self) -> dict[str, nn.Module]:
        modules = {"model": self.model.module, "loss": self.loss_mean, "accuracy": self.accuracy}
        return modules | ({"average": self.average} if self.average else {})

    def fit(self, resume: bool = False) -> None:
        """Train to the end of the recipe; `resume` continues from the newest state if there is one."""
        options, step = self.options, self._restore() if resume else 0
        self.out.mkdir(parents=True, exist_ok=True)
        curves = CurveLog(self.out, step) if self.fabric.is_global_zero else None
        batches = self.batches.after(step * options.accumulate)
        row_every = max(1, options.steps // ROWS_PER_RUN)
        self._since = self._clock()
        began = self._since - self.elapsed
        with _progress_bar(self.fabric.is_global_zero) as bar:
            task = bar.add_task("training", total=options.steps, completed=step, said="")
            while step < options.steps and not self._time_is_up():
                self._step(step, batches)
                step += 1
                self.elapsed = self._clock() - began
                if step % row_every == 0:
                    bar.update(task, said=self._report(step, curves))
                bar.update(task, completed=step)
                if step % options.evaluate_every == 0 or step == options.steps or self._time_is_up():
                    before = self._clock()
                    self._validate(step, curves)
                    taken = self._clock() - before
                    self.validating, self._since = self.validating + taken, self._since + taken
                    self.elapsed = self._clock() - began
                if step % options.save_every == 0 and self.fabric.is_global_zero:
                    self._save_state(step)

    def _step(self, step: int, batches: Iterator[Batch]) -> None:
        """One optimiser step: forward and backward of its batches, clipping, update, moving average."""
        options = self.options
        share = learning_rate_share(self._share_used(step), options.warmup) * self._rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * share * group["rate"]
        for part in range(options.accumulate):
            ids, lengths, labels = next(batches)
            with self.fabric.no_backward_sync(self.model, enabled=part + 1 < options.accumulate):
                score = self._pass(ids, lengths, labels)
            self.loss_mean.update(score.loss, score.weight)
            self.accuracy.update(score.accuracy, score.weight)
            self.tokens_seen += int(lengths.sum())
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=options.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update_parameters(self.model.module)

    def _forward_backward(self, ids: Tensor, lengths: Tensor, labels: Tensor) -> Score:
        """Score a batch and add its share to the gradients."""
        score = scored(self.model, ids, lengths, labels, self.options.label_smoothing)
        self.fabric.backward(score.loss / self.options.accumulate)
        return score._replace(loss=score.loss.detach())

    def _report(self, step: int, curves: CurveLog | None) -> str:
        """Write a row of the training curves and begin the next; the row as a short text."""
        values = {"loss": self.loss_mean.compute().item(), "accuracy": self.accuracy.compute().item()}
        if not math.isfinite(values["loss"]):
            if not self._joint(self.loss_mean.weight.item()):
                raise nothing_to_tell(f"the batches up to step {step}")
            allowed = f"one at which the loss stays finite (it is not at step {step})"
            raise InputError("learning_rate", self.options.learning_rate, allowed)
        rate = self._joint(self.tokens_seen - self._counted) / (self._clock() - self._since)
        self._counted, self._since = self.tokens_seen, self._clock()
        self.loss_mean.reset()
        self.accuracy.reset()
        usage = self._usage()
        if curves:
            lr = self.optimizer.param_groups[0]["lr"]
            curves.write(step, "train", **values, learning_rate=lr, tokens_per_s=rate, **usage)
        said = f"loss {values['loss']:.3f}  accuracy {values['accuracy']:.1%}"
        return f"{said}  {rate:,.0f} tokens/s  {usage['peak_memory_mib']:,.0f} MiB"

    def _validate(self, step: int, curves: CurveLog | None) -> None:
        """Score the averaged weights; keep them as the checkpoint if no earlier ones did better."""
        read = self.options.batch_size, self.recipe.data.max_length, self.fabric
        renew_trace_statistics(self._averaged, self.splits.train, *read)
        scores = evaluate(self._averaged, self.splits.validation, *read)
        if curves:
            curves.write(step, "validation", loss=scores.loss, accuracy=scores.accuracy, **self._usage())
        if scores.accuracy > self.best:
            self.best = scores.accuracy
            self._save_checkpoint(step)

    def _save_checkpoint(self, step: int) -> None:
        """Write the averaged weights, their configuration and what they reached to ``checkpoint/``."""
        if self.fabric.is_global_zero:
            with replacing(self.out / "checkpoint") as room:
                self._averaged.save_pretrained(room)
                (room / "recipe.json").write_text(self.recipe.model_dump_json(indent=1), encoding="utf-8")
                write_json(room / VALIDATION, {"step": step, "accuracy": self.best})

    @property
    def _averaged(self) -> Any:
        return self.average.module if self.average else self.model.module

    def _rate(self, step: int) -> float:
        """Factor of the learning rate: of the stage of `step`."""
        stages = self.recipe.data.curriculum
        index = bisect_right(list(accumulate(stage.steps for stage in stages)), step)
        return stages[index].rate if index < len(stages) else 1.0

    def _share_used(self, step: int) -> float:
        share = step / self.options.steps
        return max(share, self.elapsed / (60 * self.options.minutes)) if self.options.minutes else share

    def _time_is_up(self) -> bool:
        return bool(self.options.minutes) and self.elapsed >= 60 * (self.options.minutes or 0)

    def _usage(self) -> dict[str, float]:
        self.peak_memory_mib = max(self.peak_memory_mib, peak_memory_mib())
        return {"elapsed_s": round(self.elapsed, 2), "peak_memory_mib": round(self.peak_memory_mib, 1)}

    @property
    def tokens_per_s(self) -> float:
        """Tokens that all processes have trained on, a second of training; validations are left out."""
        return self._joint(self.tokens_seen) / max(self.elapsed - self.validating, 1e-9)

    def _joint(self, count: float) -> float:
        """Sum over the processes."""
        own = torch.tensor(count, dtype=torch.float64, device=self.fabric.device)
        return float(cast(Tensor, self.fabric.all_reduce(own, reduce_op="sum")).item())

    def _save_state(self, step: int) -> None:
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        progress = TrainingProgress(
            step=step,
            best=self.best,
            elapsed=self.elapsed,
            validating=self.validating,
            tokens_seen=self.tokens_seen,
            peak_memory_mib=self.peak_memory_mib,
        )
        save_state(self.out / "states", progress, self._modules, self.optimizer.optimizer, random)

    def _fault(self) -> str | None:
        """What is wrong with the checkpoint of the best weights.

        One that was written after the newest state is of steps that are trained again; only one process on a CPU
        and without a clock comes to the same weights again.
        """
        folder = self.out / "checkpoint"
        try:
            recipe = load_checkpoint(folder)[1]
        except InputError as error:
            return str(error)
        if recipe != self.recipe:
            return f"{folder} is of another recipe"
        try:
            reached = json.loads((folder / VALIDATION).read_text(encoding="utf-8"))["accuracy"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None  # of a run that did not say it
        exact = self.fabric.device.type == "cpu" and self.fabric.world_size == 1 and not self.options.minutes
        return None if exact or reached == self.best else f"{folder} was written after the newest state"

    def _restore(self) -> int:
        found = load_state(self.out / "states", self._modules, self.optimizer.optimizer, self.options.steps)
        if found is None:
            return 0
        progress, random = found
        self.best, step, self.peak_memory_mib = progress.best, progress.step, progress.peak_memory_mib
        self.elapsed, self.validating = progress.elapsed, progress.validating
        self.tokens_seen = self._counted = progress.tokens_seen
        for mean in (self.loss_mean, self.accuracy):
            mean.to(self.fabric.device)  # loaded from what lies on the CPU
        if self.best >= 0 and (fault := self.fabric.broadcast(self._fault())):
            log.warning("weights of step %d take the place of the best ones, which cannot be used: %s", step, fault)
            self.best = -1.0
            self._validate(step, None)
        torch.set_rng_state(random["cpu"])  # last: a checkpoint that is read draws weights first
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
        if rank := self.fabric.global_rank:  # the state is that of process 0; the others drop out other entries
            torch.manual_seed(derived_seed(self.recipe.seed, f"process {rank}, step {step}"))
            self.loss_mean.reset()  # of which the state has those of process 0, as of the tokens
            self.accuracy.reset()
        return step


def _groups(model: nn.Module, options: OptimisationRecipe) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms, single vectors and what a module names as `undecayed` do not.

    What a module names as `astrocytic` learns at a rate of its own.
    """
    undecayed, astrocytic = _named(model, "undecayed"), _named(model, "astrocytic")
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and id(parameter) not in undecayed
            rate = options.astrocyte_rate if id(parameter) in astrocytic else 1.0
            groups.setdefault((decays, rate), []).append(parameter)
    return [
        {"params": params, "weight_decay": options.weight_decay * decays, "rate": rate}
        for (decays, rate), params in groups.items()
    ]


def _named(model: nn.Module, kind: str) -> set[int]:
    """Identities of the parameters that the modules of `model` name in their attribute `kind`."""
    return {id(getattr(m, name, None)) for m in model.modules() for name in getattr(m, kind, ())}


def _progress_bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
        disable=not shown,
    )
