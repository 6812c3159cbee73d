"""Masked modelling: what is hidden, what the loss sees, and that hidden tokens are learnt from their neighbours."""

import pytest
import torch
import torch.nn.functional as F

from astro_sim.errors import InputError
from rmaat import RMAATConfig, RMAATForMaskedLM

SMALL = {"vocab_size": 12, "dim": 16, "heads": 2, "layers": 1, "segment_length": 10, "memory_tokens": 3}
INPUTS = torch.randint(1, 12, (3, 33), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([33, 9, 20])
STEM = {"stem_stride": 4, "stem_layers": 1}


def model(**changes: object) -> RMAATForMaskedLM:
    torch.manual_seed(0)
    return RMAATForMaskedLM(RMAATConfig(**SMALL | {"mask_share": 0.4} | changes)).double()


def logits_of(masked: RMAATForMaskedLM, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Logits (batch, length, vocab) of every token, segment by segment, without the head's selection."""
    stride, found = masked.config.stem_stride, []
    for features, piece in zip(masked.model(inputs, lengths).outputs, inputs.split(10, 1), strict=True):
        logits = masked.head.linear(features).unflatten(-1, (stride, -1)).flatten(1, 2)
        found.append(logits[:, : piece.shape[1]])
    return torch.cat(found, 1)


@pytest.mark.parametrize("changes", [{}, STEM, {"input_kind": "levels"}, {"backprop": "bptt"}], ids=str)
def test_the_loss_is_the_cross_entropy_of_the_hidden_tokens_alone(changes: dict[str, object]) -> None:
    """Against all logits of the blanked sequences, scored token by token; float32 cross-entropy."""
    masked = model(**changes).eval()
    found = masked(INPUTS, LENGTHS)
    hidden = masked.hidden(INPUTS, LENGTHS)
    logits = logits_of(masked, INPUTS.masked_fill(hidden, 0), LENGTHS)[hidden]
    expected = F.cross_entropy(logits, INPUTS[hidden])
    torch.testing.assert_close(found.loss.double(), expected, rtol=1e-5, atol=0)
    assert int(found.count) == int(hidden.sum()) > 0
    assert int(found.right) == int((logits.argmax(-1) == INPUTS[hidden]).sum())


def test_amrb_gives_the_gradients_of_bptt_and_the_head_gets_them_too() -> None:
    gradients = []
    for backprop in ("amrb", "bptt"):
        masked = model(backprop=backprop).eval()
        masked(INPUTS, LENGTHS).loss.backward()
        gradients.append({name: p.grad for name, p in masked.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() >= {"head.linear.weight", "model.embedding.weight"}
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-6, atol=1e-9)


def test_places_and_runs_are_hidden_as_a_whole_at_the_share_asked_for() -> None:
    """Runs of 2 places of 4 tokens, from the start of each segment of 30; the share within 5 standard errors."""
    masked = model(**STEM, segment_length=30, mask_span=2, mask_share=0.3)
    inputs = torch.ones(200, 60, dtype=torch.long)
    hidden = masked.hidden(inputs)
    for segment in hidden.split(30, dim=1):
        runs = segment.split(8, dim=1)
        assert [run.shape[1] for run in runs] == [8, 8, 8, 6]
        assert all((run == run[:, :1]).all() for run in runs)
        drawn = torch.cat([run[:, :1] for run in runs], 1).double()
        assert drawn.mean().item() == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / drawn.numel()) ** 0.5)
        assert not (runs[0][:, 0] == runs[1][:, 0]).all()


def test_padding_is_never_hidden_and_evaluation_hides_the_same_tokens_each_time() -> None:
    masked = model()
    padding = torch.arange(33) >= LENGTHS[:, None]
    first, second = masked.hidden(INPUTS, LENGTHS), masked.hidden(INPUTS, LENGTHS)
    assert not (first & padding).any() and not torch.equal(first, second)
    state = torch.get_rng_state()
    masked.eval()
    assert torch.equal(masked.hidden(INPUTS, LENGTHS), masked.hidden(INPUTS, LENGTHS))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_without_hidden_tokens_costs_nothing() -> None:
    found = model(mask_share=1e-9)(INPUTS, LENGTHS)
    found.loss.backward()
    assert found.loss.item() == 0.0 and int(found.count) == 0


@pytest.mark.parametrize("changes", [{}, {"input_kind": "levels"}], ids=str)
def test_hidden_tokens_are_learnt_from_their_neighbours(changes: dict[str, object]) -> None:
    """Every row counts upwards modulo 11 from a random start: far above chance (1 in 11) after 150 steps."""
    masked = model(dim=32, heads=4, mask_share=0.15, stem_layers=2, **changes).float()
    optimizer = torch.optim.AdamW(masked.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    rows = (torch.randint(11, (256, 1), generator=generator) + torch.arange(20)) % 11 + 1
    for step in range(150):
        batch = rows[torch.randperm(256, generator=generator)[:32]]
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 150)
        masked(batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = masked.eval()(rows)
    assert int(found.right) > 0.6 * int(found.count)


def test_a_hidden_level_is_not_a_level() -> None:
    embedding = model(input_kind="levels").model.embedding
    levels = embedding(torch.arange(12)[None])[0]
    assert (levels[0] == 0).all() and (levels[1:].abs().amax(1) > 1e-3).all()


def test_pairs_are_read_as_twice_as_many_sequences() -> None:
    masked = model().eval()
    pairs = masked(INPUTS[:2, None].expand(-1, 2, -1), LENGTHS[:2, None].expand(-1, 2))
    flat = masked(INPUTS[:2].repeat_interleave(2, 0), LENGTHS[:2].repeat_interleave(2, 0))
    torch.testing.assert_close(pairs.loss, flat.loss)


@pytest.mark.parametrize("changes", [{"causal": True}, {"input_kind": "features"}], ids=str)
def test_what_cannot_be_masked_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        model(**changes)
