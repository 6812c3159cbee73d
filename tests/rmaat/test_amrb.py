"""AMRB against plain backpropagation through time: same gradients, less memory."""

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from rmaat import RMAATConfig, RMAATForSequenceClassification, RMAATModel, recur
from rmaat.amrb import _Replay
from rmaat.causal_lm import RMAATForCausalLM
from rmaat.peak_memory import training_step_peak

TOLERANCE = 1e-10  # largest relative difference in float64: the order of the sums differs, nothing else
SMALL = {
    "vocab_size": 16,
    "num_labels": 10,
    "dim": 16,
    "segment_length": 7,
    "memory_tokens": 3,
    "dropout": 0.3,
    "learn_alpha": True,
}
LENGTHS = torch.tensor([30, 3, 14, 15, 29])


def gradients(
    backprop: str,
    every_k: int = 1,
    use: Callable[[nn.Module], Tensor] | None = None,
    lengths: Tensor | None = LENGTHS,
) -> dict[str, Tensor]:
    """Loss and gradients of a small float64 classifier with dropout; `use` replaces loss.backward()."""
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(RMAATConfig(**SMALL, backprop=backprop, every_k=every_k)).double()
    inputs, labels = torch.randint(1, 16, (5, 30)), torch.randint(0, 10, (5,))
    torch.manual_seed(1)
    loss = model(inputs, lengths, labels).loss if use is None else use(model)
    loss.backward()
    return {"loss": loss.detach()} | {name: p.grad for name, p in model.named_parameters()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = TOLERANCE) -> None:
    assert one.keys() == other.keys()
    for name, value in other.items():
        assert value.abs().max() > 0, name
        assert (one[name] - value).abs().max() <= tolerance * value.abs().max(), name


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
@pytest.mark.parametrize("every_k", [1, 2, 3, 10])
def test_gradients_equal_bptt_with_dropout(every_k: int, lengths: Tensor | None) -> None:
    assert_same(gradients("amrb", every_k, lengths=lengths), gradients("bptt", lengths=lengths))


def test_dropout_is_on_in_the_comparison() -> None:
    def without(model: nn.Module) -> Tensor:
        model.eval()
        return model(torch.randint(1, 16, (5, 30)), LENGTHS, torch.zeros(5, dtype=torch.long)).loss

    def with_dropout(model: nn.Module) -> Tensor:
        return model(torch.randint(1, 16, (5, 30)), LENGTHS, torch.zeros(5, dtype=torch.long)).loss

    assert (gradients("amrb", use=without)["loss"] - gradients("amrb", use=with_dropout)["loss"]).abs() > 1e-3


def test_the_random_state_after_a_step_is_that_of_bptt() -> None:
    drawn = []
    for backprop in ("amrb", "bptt"):
        gradients(backprop)
        drawn.append(torch.rand(4))
    assert torch.equal(*drawn)


def test_gradient_accumulation_and_clipping_give_the_same_step() -> None:
    steps = []
    for backprop in ("amrb", "bptt"):
        torch.manual_seed(0)
        model = RMAATForSequenceClassification(RMAATConfig(**SMALL, backprop=backprop)).double()
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        for _ in range(3):
            inputs, labels = torch.randint(1, 16, (2, 25)), torch.randint(0, 10, (2,))
            (model(inputs, None, labels).loss / 3).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        torch.optim.SGD(model.parameters(), 0.1).step()
        steps.append(nn.utils.parameters_to_vector(model.parameters()).detach() - before)
    assert steps[0].norm() > 0
    torch.testing.assert_close(*steps, rtol=0, atol=1e-12)


def test_autocast_is_replayed_in_its_own_precision() -> None:
    """Under bfloat16 the replayed casts are those of the first run: the same gradients as BPTT's.

    BPTT adds the segments' gradients of a weight in bfloat16 (its cast is shared), AMRB in float32: 1e-2 of
    the largest entry is two roundings to bfloat16. The forward pass is the same to the bit.
    """

    def half(model: nn.Module) -> Tensor:
        model.float()
        with torch.autocast("cpu", torch.bfloat16):
            return model(torch.arange(60).reshape(2, 30) % 15 + 1, None, torch.tensor([1, 2])).loss

    one, other = (gradients(backprop, use=half) for backprop in ("amrb", "bptt"))
    assert_same(one, other, 1e-2)
    assert one["loss"] == other["loss"]


def test_per_segment_outputs_enter_the_loss() -> None:
    """A linear recurrence whose loss has a term from every segment, against its unrolled graph."""
    weight = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(1, dtype=torch.float64, requires_grad=True)
    data = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    start = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def step(memory: Tensor, segment: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        memory = torch.tanh(memory @ weight + segment * scale)
        return memory, memory.square().sum()

    def run(every_k: int | None) -> list[Tensor]:
        memory, outputs = recur(step, start, [(x,) for x in data], [scale], [weight], every_k)
        loss = sum(t * y for t, y in enumerate(outputs)) + memory.sum()
        return [loss, *torch.autograd.grad(loss, [weight, scale, data, start])]

    for every_k in (1, 2):
        for one, other in zip(run(every_k), run(None), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_the_last_segment_is_not_run_twice() -> None:
    runs = []

    def step(memory: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        runs.append(int(segment))
        return memory * 2, memory.sum()

    memory, _ = recur(step, torch.ones(2, requires_grad=True), [(torch.tensor(t),) for t in range(4)], every_k=1)
    memory.sum().backward()
    assert runs == [0, 1, 2, 3, 2, 1, 0]


def test_nothing_is_kept_to_be_replayed_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model, replay = RMAATForSequenceClassification(RMAATConfig(**SMALL)), Mock(side_effect=_Replay.apply)
    monkeypatch.setattr(_Replay, "apply", replay)
    with torch.no_grad():
        model(torch.randint(1, 16, (2, 30)))
    assert not replay.called
    model(torch.randint(1, 16, (2, 30)))
    assert replay.called


@pytest.mark.parametrize("causal", [False, True])
def test_a_kept_memory_keeps_nothing_else_alive(causal: bool) -> None:
    """A view of a segment's output would keep the whole of it: B (M + N) d in place of the B M d of the equation."""
    model = RMAATModel(RMAATConfig(**SMALL, causal=causal))
    start = model.memory.initial.expand(2, -1, -1)
    memory, _ = model.step(start, torch.ones(2), torch.randint(1, 16, (2, 7)), None, *model.tables())
    assert memory.untyped_storage().nbytes() == 4 * 2 * 3 * 16


@pytest.mark.parametrize("backprop", ["amrb", "bptt"])
def test_a_head_is_trained_on_a_frozen_body(backprop: str) -> None:
    torch.manual_seed(0)
    model = RMAATForCausalLM(RMAATConfig(**SMALL | {"dropout": 0.0}, causal=True, backprop=backprop)).double()
    model.model.requires_grad_(False)
    inputs = torch.randint(1, 16, (2, 20))
    model(inputs, labels=inputs).loss.backward()
    with torch.no_grad():
        features = torch.cat(model.model(inputs).outputs, dim=1)[:, :-1].flatten(0, 1)
    errors = model.head(features).softmax(-1) - nn.functional.one_hot(inputs[:, 1:].flatten(), 16)
    torch.testing.assert_close(model.head.weight.grad, errors.mT @ features / len(features))


def test_a_second_derivative_is_refused() -> None:
    """Under AMRB replayed segments would count as constants."""
    memory = torch.ones(3, requires_grad=True)
    end, _ = recur(lambda memory, x: (memory**2 * x, memory), memory, [(torch.tensor(2.0),)] * 3, every_k=1)
    (first,) = torch.autograd.grad(end.sum(), memory, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_copy_of_a_compiled_model_has_its_own_weights() -> None:
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(RMAATConfig(**SMALL | {"dropout": 0.0}))
    model.model.compile_step(backend="eager")
    inputs, copy = torch.randint(1, 16, (2, 20)), deepcopy(model)
    before = copy(inputs).logits
    assert torch.equal(before, model(inputs).logits)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
    assert torch.equal(copy(inputs).logits, before) and not torch.equal(model(inputs).logits, before)


def test_peak_memory_relative_to_bptt_falls_with_the_number_of_segments() -> None:
    config = RMAATConfig(dim=32, segment_length=64, memory_tokens=4)
    peaks = {
        backprop: [training_step_peak(config.model_copy(update={"backprop": backprop}), n, 2) for n in (2, 4, 8, 16)]
        for backprop in ("amrb", "bptt")
    }
    ratios = [a / b for a, b in zip(peaks["amrb"], peaks["bptt"], strict=True)]
    assert all(later < earlier for earlier, later in pairwise(ratios))
    assert ratios[-1] <= 1 / 6
    assert peaks["amrb"][-1] <= 1.3 * peaks["amrb"][0]


def compiled_gradients(backend: str) -> None:
    """The same step with and without `torch.compile`, under AMRB."""
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = RMAATForSequenceClassification(RMAATConfig(**SMALL | {"dropout": 0.0})).double()
        if compiled:
            model.model.compile_step(backend=backend)
        inputs, labels = torch.randint(1, 16, (2, 28)), torch.tensor([1, 2])
        model(inputs, None, labels).loss.backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    assert_same(found[1], found[0])


def test_a_compiled_segment_step_is_replayed() -> None:
    compiled_gradients("aot_eager")


@pytest.mark.slow
def test_inductors_segment_step_is_replayed() -> None:
    compiled_gradients("inductor")


def ddp_gradients(rank: int, world: int, folder: str) -> None:
    """Gradients under DistributedDataParallel, each rank with its rows of the batch."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world)
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(RMAATConfig(**SMALL | {"dropout": 0.0})).double()
    wrapped = nn.parallel.DistributedDataParallel(model)
    inputs, labels = torch.randint(1, 16, (4, 30)), torch.randint(0, 10, (4,))
    wrapped(inputs[rank::world], None, labels[rank::world]).loss.backward()
    torch.save({name: p.grad for name, p in model.named_parameters()}, f"{folder}/{world}-{rank}.pt")
    torch.distributed.destroy_process_group()


def single_gradients() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(RMAATConfig(**SMALL | {"dropout": 0.0, "backprop": "bptt"})).double()
    inputs, labels = torch.randint(1, 16, (4, 30)), torch.randint(0, 10, (4,))
    model(inputs, None, labels).loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_distributed_data_parallel_in_one_process(tmp_path: Path) -> None:
    ddp_gradients(0, 1, str(tmp_path))
    assert_same(torch.load(tmp_path / "1-0.pt", weights_only=True), single_gradients())


@pytest.mark.slow
def test_distributed_data_parallel_in_two_processes(tmp_path: Path) -> None:
    ranks = [subprocess.Popen([sys.executable, __file__, str(rank), "2", str(tmp_path)]) for rank in range(2)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    for rank in range(2):
        assert_same(torch.load(tmp_path / f"2-{rank}.pt", weights_only=True), single_gradients())


if __name__ == "__main__":
    ddp_gradients(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
