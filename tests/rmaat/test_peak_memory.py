"""The memory counter against sizes known beforehand."""

import torch

from rmaat.config import RMAATConfig
from rmaat.peak_memory import PeakMemory, backprop_memory


def test_counts_what_is_alive_at_once() -> None:
    with PeakMemory() as memory:
        first = torch.ones(1000)  # 4000 bytes
        second = first.double()  # + 8000
        view = second[10:]  # shares storage
        del first, second
        assert memory.live == 8000
        del view
        assert memory.live == 0
        kept = torch.zeros(500, dtype=torch.int16)  # 1000 bytes
    assert (memory.peak, memory.live, kept.nbytes) == (12_000, 1000, 1000)


def test_what_existed_before_is_not_counted() -> None:
    before = torch.ones(1000)
    with PeakMemory() as memory:
        before.mul_(2)
        before.view(10, 100)
    assert memory.peak == 0


def test_a_chain_of_n_nonlinearities_keeps_n_activations() -> None:
    """tanh saves its output: n of them under backward hold n outputs; under no_grad two at most."""
    x = torch.randn(1000, requires_grad=True)

    def chain() -> torch.Tensor:
        y = x
        for _ in range(20):
            y = torch.tanh(y)
        return y

    with PeakMemory() as memory:
        chain()
    assert memory.peak == 20 * x.nbytes
    with PeakMemory() as memory, torch.no_grad():
        chain()
    assert memory.peak == 2 * x.nbytes


def test_amrb_saves_more_the_more_segments_there_are() -> None:
    config = RMAATConfig(vocab_size=16, num_labels=10, dim=32, layers=1, segment_length=32, memory_tokens=4)
    peak = backprop_memory(config, [1, 2, 4, 8], batch=2)
    ratios = [amrb / bptt for amrb, bptt in zip(peak["amrb"], peak["bptt"], strict=True)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == 1  # one segment: nothing to replay
    assert ratios[-1] < 0.5
