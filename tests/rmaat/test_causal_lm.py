"""The language model: no look ahead, generation equal to the parallel pass, and it learns."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_sim.errors import InputError
from rmaat import RMAATConfig, RMAATForCausalLM
from rmaat.causal_lm import Decoder
from rmaat.peak_memory import PeakMemory

SMALL = {"vocab_size": 16, "dim": 16, "segment_length": 8, "memory_tokens": 3, "causal": True}
MIXERS = {
    "rmaat": {},
    "softmax": {"mixer": "softmax", "retention": False},
    "ssm": {"mixer": "ssm", "memory_tokens": 0},
    "without-memory": {"memory_tokens": 0},
    "stem": {"stem_layers": 3},
    "softmax-stem": {"mixer": "softmax", "retention": False, "stem_layers": 3, "stem_kernel": 5},
    "ssm-stem": {"mixer": "ssm", "memory_tokens": 0, "stem_layers": 1},
}
every_mixer = pytest.mark.parametrize("changes", MIXERS.values(), ids=MIXERS)


def language_model(**changes: object) -> RMAATForCausalLM:
    torch.manual_seed(0)
    return RMAATForCausalLM(RMAATConfig(**SMALL | changes)).double()


@every_mixer
@settings(max_examples=8, deadline=None)
@given(t=st.integers(0, 28), seed=st.integers(0, 1000), length=st.integers(29, 40))
def test_no_output_depends_on_later_tokens_or_their_number(changes: dict, t: int, seed: int, length: int) -> None:
    model = language_model(**changes)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 16, (1, 29), generator=generator)
    changed = torch.randint(1, 16, (1, length), generator=generator)
    changed[:, : t + 1] = tokens[:, : t + 1]
    one, other = model(tokens).logits[:, : t + 1], model(changed).logits[:, : t + 1]
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@every_mixer
@pytest.mark.parametrize("prompt", [1, 8, 13])
def test_greedy_generation_follows_the_parallel_logits(changes: dict, prompt: int) -> None:
    """Every generated token is the argmax of the parallel pass over what stands before it."""
    model = language_model(**changes)
    start = torch.randint(1, 16, (2, prompt), generator=torch.Generator().manual_seed(1))
    text = model.generate(start, 20, temperature=0)
    assert text.shape == (2, prompt + 20)
    assert torch.equal(text[:, :prompt], start)
    expected = model(text).logits[:, prompt - 1 : -1].argmax(-1)
    assert torch.equal(text[:, prompt:], expected)


@every_mixer
@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 30), max_size=6, unique=True))
def test_features_fed_in_pieces_are_those_of_the_parallel_pass(changes: dict, cuts: list[int]) -> None:
    """Pieces of one token and more, across the ends of segments; in float32, where the order of sums shows."""
    model = language_model(**changes).float()
    tokens = torch.randint(1, 16, (2, 31), generator=torch.Generator().manual_seed(len(cuts)))
    with torch.no_grad():
        decoder = Decoder(model.model, 2)
        pieces = tokens.tensor_split(sorted(cuts), dim=1)
        found = torch.cat([decoder.feed(piece) for piece in pieces], dim=1)
        torch.testing.assert_close(model.head(found), model(tokens).logits, rtol=1e-5, atol=1e-5)


@every_mixer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_learn_and_generate(changes: dict, dtype: torch.dtype) -> None:
    """`model.half()` without autocast: a loss within 1 % of float64 (bfloat16 keeps 3 digits), finite gradients."""
    tokens = torch.randint(1, 16, (2, 20), generator=torch.Generator().manual_seed(1))
    expected = language_model(**changes)(tokens, None, tokens).loss.double()
    model = language_model(**changes).to(dtype)
    loss = model(tokens, None, tokens).loss
    loss.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-2, atol=0)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.generate(tokens, 10, temperature=0).shape == (2, 30)


def test_sampling_follows_the_model_and_top_k() -> None:
    model = language_model()
    generator = torch.Generator().manual_seed(0)
    start = torch.full((4000, 1), 3)
    drawn = model.generate(start, 1, generator=generator)[:, 1]
    expected = model(start[:1]).logits[0, 0].softmax(-1)
    observed = torch.bincount(drawn, minlength=16) / 4000
    sigma = (expected * (1 - expected) / 4000).sqrt()
    assert ((observed - expected).abs() <= 4.5 * sigma + 1e-9).all()  # 16 cells: one in 1e4 seeds fails
    likeliest = set(expected.topk(3).indices.tolist())
    assert set(model.generate(start, 1, top_k=3, generator=generator)[:, 1].tolist()) == likeliest


def test_loss_is_that_of_the_shifted_tokens_that_exist() -> None:
    model = language_model()
    tokens, lengths = torch.randint(1, 16, (2, 20)), torch.tensor([20, 11])
    result = model(tokens, lengths, tokens)
    rows = [
        torch.nn.functional.cross_entropy(model(row[None, :n]).logits[0, :-1], row[1:n], reduction="sum")
        for row, n in zip(tokens, lengths, strict=True)
    ]
    torch.testing.assert_close(result.loss.double(), sum(rows) / (19 + 10), rtol=1e-6, atol=0)


@pytest.mark.parametrize("stem_layers", [0, 3])
@pytest.mark.parametrize("every_k", [1, 2])
def test_amrb_with_a_loss_at_every_segment_equals_bptt(every_k: int, stem_layers: int) -> None:
    found = []
    for backprop in ("amrb", "bptt"):
        model = language_model(backprop=backprop, every_k=every_k, dropout=0.2, stem_layers=stem_layers)
        tokens = torch.randint(1, 16, (2, 37), generator=torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        model(tokens, None, tokens).loss.backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in found[1].items():
        assert (found[0][name] - gradient).abs().max() <= 1e-10 * gradient.abs().max(), name


def test_tied_weights_get_their_gradient_once_and_are_saved(tmp_path: Path) -> None:
    """The head reads with the embedding's own matrix, which AMRB meets under two names."""
    tokens, found = torch.randint(1, 16, (2, 37), generator=torch.Generator().manual_seed(1)), []
    for backprop in ("amrb", "bptt"):
        model = language_model(backprop=backprop)
        model.head.weight = model.model.embedding.weight
        model(tokens, None, tokens).loss.backward()
        found.append(model.head.weight.grad)
    torch.testing.assert_close(*found, rtol=0, atol=1e-10 * found[1].abs().max())
    model.float().save_pretrained(tmp_path)
    again = RMAATForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(tokens).logits, model(tokens).logits, rtol=0, atol=0)


@pytest.mark.parametrize("length", [1, 12])
def test_one_token_has_no_loss(length: int) -> None:
    """Nothing follows it: the mean over no token is 0, and its gradients are finite."""
    model, tokens = language_model(), torch.ones(2, length, dtype=torch.long)
    loss = model(tokens, torch.tensor([1, 1]), tokens).loss
    loss.backward()
    assert loss == 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_labels_of_minus_100_are_not_scored() -> None:
    model = language_model()
    tokens = torch.randint(1, 16, (2, 20))
    labels = tokens.clone()
    labels[:, 3:11] = -100
    logits = model(tokens).logits[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten())
    torch.testing.assert_close(model(tokens, None, labels).loss.double(), expected, rtol=1e-6, atol=0)


def test_logits_of_one_segment_at_a_time_are_alive() -> None:
    """With 2000 words the logits are most of the memory: BPTT keeps those of all segments, AMRB of one."""
    peaks = {}
    for backprop in ("amrb", "bptt"):
        for segments in (2, 16):
            torch.manual_seed(0)
            model = RMAATForCausalLM(RMAATConfig(**SMALL | {"vocab_size": 2000, "backprop": backprop}))
            tokens = torch.randint(1, 2000, (8, 8 * segments))
            with PeakMemory() as memory:
                model(tokens, None, tokens).loss.backward()
            peaks[backprop, segments] = memory.peak
    all_logits = 8 * 8 * 16 * 2000 * 4  # bytes
    assert peaks["bptt", 16] >= all_logits
    assert peaks["amrb", 16] <= all_logits / 3
    assert peaks["amrb", 16] <= 1.15 * peaks["amrb", 2]


def test_it_learns_a_repeated_text() -> None:
    """A cycle of 12 tokens, longer than a segment: the loss falls far below log 12 = 2.48 nats."""
    torch.manual_seed(0)
    model = RMAATForCausalLM(RMAATConfig(**SMALL))
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    cycle = torch.randperm(12) + 1
    for _ in range(80):
        shift = torch.randint(12, (8, 1))
        tokens = cycle[(torch.arange(32) + shift) % 12]
        loss = model(tokens, None, tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": torch.ones(2, 0, dtype=torch.long)}, r"inputs: got \(2, 0\)"),
        ({"new_tokens": -1}, "new_tokens: got -1, expected a whole number from 0 on"),
        ({"temperature": -1.0}, "temperature: got -1.0"),
        ({"temperature": float("nan")}, "temperature: got nan"),
        ({"top_k": 0}, "top_k: got 0, expected a whole number from 1 on"),
    ],
)
def test_impossible_generation_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        language_model().generate(**{"prompt": torch.ones(1, 3, dtype=torch.long), "new_tokens": 2} | arguments)


def test_generation_leaves_the_mode_as_it_was() -> None:
    """Also when it ends in an error, here of a head of another width."""
    model = language_model(dropout=0.5)
    model.head = torch.nn.Linear(5, 16).double()
    assert model.training
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model.generate(torch.full((1, 3), 9), 2)
    assert model.training


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"labels: got \(2, 4\), expected the shape of the inputs, \(2, 5\)"):
        language_model()(torch.ones(2, 5, dtype=torch.long), None, torch.ones(2, 4, dtype=torch.long))


@pytest.mark.parametrize(
    ("label", "said"), [(-1, "got -1, expected ids below 16, or -100"), (16, "got 16,"), (2.5, "got 'torch.float32'")]
)
def test_labels_that_are_no_ids_are_refused(label: float, said: str) -> None:
    labels = torch.tensor([[3, 4, label]])
    with pytest.raises(InputError, match=f"labels: {said}"):
        language_model()(torch.ones(1, 3, dtype=torch.long), None, labels)


def test_a_saved_model_with_a_stem_comes_back(tmp_path: Path) -> None:
    model, tokens = language_model(stem_layers=2).float(), torch.randint(1, 16, (2, 20))
    model.save_pretrained(tmp_path)
    again = RMAATForCausalLM.from_pretrained(tmp_path)
    assert again.config == model.config
    torch.testing.assert_close(again(tokens).logits, model(tokens).logits, rtol=0, atol=0)


def test_only_causal_configurations() -> None:
    with pytest.raises(InputError, match="causal"):
        RMAATForCausalLM(RMAATConfig())
