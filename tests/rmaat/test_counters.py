"""Counters that tokens move, over a whole sequence."""

import pytest
import torch

from astro_sim.errors import InputError
from rmaat import RMAATConfig, RMAATForSequenceClassification
from rmaat.counters import GAIN, Counters
from rmaat.data.listops import END, ID, OPERATOR, OPERATORS, Grammar, generate
from rmaat_lava.calibration import check_supported

CONFIG = {
    "vocab_size": 16,
    "num_labels": 4,
    "dim": 16,
    "heads": 2,
    "segment_length": 12,
    "memory_tokens": 3,
    "stem_counters": 2,
    "streaming": True,
}
INPUTS = torch.randint(1, 16, (3, 31), generator=torch.Generator().manual_seed(0))


def model(**changes: object) -> RMAATForSequenceClassification:
    torch.manual_seed(0)
    made = RMAATForSequenceClassification(RMAATConfig(**CONFIG | changes)).double()
    if made.model.counters is not None:
        torch.nn.init.normal_(made.model.counters.weight, std=1 / GAIN)
    return made


def test_counts_are_sums_of_the_tokens_own_steps() -> None:
    """Token by token in Python; padding (id 0) does not count."""
    counters = model().model.counters
    ids = torch.cat([INPUTS, torch.zeros(3, 2, dtype=torch.int64)], dim=1)
    found = counters.count(ids)
    theta = GAIN * counters.weight
    for row, sequence in zip(found, ids.tolist(), strict=True):
        total = torch.zeros(2, dtype=torch.float64)
        for place, token in enumerate(sequence):
            if token:
                total = total + 1 / (1 + torch.exp(4 - 4 * theta[token])) - 1 / (1 + torch.exp(4 + 4 * theta[token]))
            torch.testing.assert_close(row[place], total, rtol=0, atol=1e-12)


def test_a_counter_of_brackets_is_the_depth() -> None:
    """Of 20 expressions of 500 to 2,000 tokens, by a stack; what the flat steps leave over is below 0.01."""
    counters = Counters(16, 4, 1)
    with torch.no_grad():
        counters.weight[[ID[name] for name in OPERATORS]] = 4 / GAIN
        counters.weight[END] = -4 / GAIN
    data = generate(20, seed=3, grammar=Grammar())
    for i in range(20):
        ids, depth, depths = torch.from_numpy(data[i].astype("int64")), 0, []
        for token in ids.tolist():
            depth += (token in range(OPERATOR, OPERATOR + 4)) - (token == END)
            depths.append(depth)
        expected = torch.tensor(depths, dtype=torch.float32)
        torch.testing.assert_close(counters.count(ids[None])[0, :, 0], expected, rtol=0, atol=0.01)


def test_counts_pass_from_segment_to_segment_and_in_streams() -> None:
    """In one pass, cut into segments, the model adds U c of the whole sequence; a stream of segments says the same."""
    classifier = model().eval()
    net, seen = classifier.model, []
    net.counters.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits = classifier(INPUTS).logits
    torch.testing.assert_close(torch.cat(seen, dim=1), net.counters.count(INPUTS), rtol=0, atol=0)
    stream = classifier.stream(3)
    for piece in INPUTS.split(12, dim=1):
        last = stream.feed(piece)
    torch.testing.assert_close(last, logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backprop", ["amrb", "bptt"])
def test_gradients_reach_a_token_through_all_later_segments(backprop: str) -> None:
    """Against differences of the logits: moving the step of a token that only the first segment holds."""
    classifier = model(backprop=backprop)
    inputs = INPUTS.clone()
    inputs[inputs == 5] = 6
    inputs[:, 2] = 5
    weight = classifier.model.counters.weight
    weighed = torch.randn(3, 4, dtype=torch.float64)
    (classifier(inputs).logits * weighed).sum().backward()
    sums, step = [], 1e-6
    with torch.no_grad():
        for moved in (step, -2 * step):
            weight[5, 1] += moved
            sums.append((classifier(inputs).logits * weighed).sum())
    torch.testing.assert_close(weight.grad[5, 1], (sums[0] - sums[1]) / (2 * step), rtol=1e-6, atol=1e-9)


def test_what_counts_has_no_integer_form_yet() -> None:
    with pytest.raises(InputError, match=r"stem_counters: got 2, .* no process counts"):
        check_supported(model())
    with pytest.raises(InputError, match=r"trace_norm: got 'segments', .* one centre"):
        check_supported(model(stem_counters=0, trace_norm="segments"))
