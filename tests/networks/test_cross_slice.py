"""Cross-slice attention: equations 2 to 5 of Bio2Vol on numbers that a hand can compute."""

import math

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor  # noqa: E402

from vesal.inference.data.cross_slice import NO_CROSS_SLICE, CrossSlice  # noqa: E402
from vesal.networks.cross_slice import (  # noqa: E402
    across_slices,
    attend,
    cross_slice_attention,
    look_across,
    other_slice,
)
from vesal.networks.query_decoder import CrossAttention  # noqa: E402

SLICES, HEADS, TOKENS = 5, 4, 3


def numbered() -> Tensor:
    """(5, 4, 3, 1): 10 t + head, whatever the token."""
    numbers = 10.0 * torch.arange(SLICES)[:, None] + torch.arange(HEADS)
    return numbers[..., None, None].expand(SLICES, HEADS, TOKENS, 1)


def drawn(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of one shape."""
    made = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(shape, generator=made) for _ in range(3))
    return q, k, v


def of_first_token(x: Tensor, head: int) -> list[float]:
    """What one head of each slice holds."""
    return x[:, head, 0, 0].tolist()


def test_the_first_head_takes_the_slice_two_further_on_and_its_own_at_the_end() -> None:
    found = across_slices(numbered(), CrossSlice().offsets)
    assert of_first_token(found, 0) == [20, 30, 40, 30, 40]
    for head in (1, 2, 3):
        assert of_first_token(found, head) == [10 * t + head for t in range(SLICES)]


def test_of_several_heads_every_second_looks_back() -> None:
    cross = CrossSlice(heads=3, offset=1)
    assert cross.offsets == (1, -1, 1) and cross.reach == 1
    found = across_slices(numbered(), cross.offsets)
    assert of_first_token(found, 0) == [10, 20, 30, 40, 40]
    assert of_first_token(found, 1) == [1, 1, 11, 21, 31]
    assert of_first_token(found, 2) == [12, 22, 32, 42, 42]
    assert of_first_token(found, 3) == [3, 13, 23, 33, 43]


def test_offsets_may_be_listed() -> None:
    found = across_slices(numbered(), CrossSlice(heads=2, offset=(-2, -1)).offsets)
    assert of_first_token(found, 0) == [0, 10, 0, 10, 20]
    assert of_first_token(found, 1) == [1, 1, 11, 21, 31]


@pytest.mark.parametrize("offset", [-7, -5, 5, 7])
def test_a_run_that_is_no_longer_than_the_offset_keeps_its_own(offset: int) -> None:
    assert torch.equal(other_slice(numbered(), offset), numbered())


def test_equations_3_to_5_by_hand() -> None:
    """Two slices, two heads, one query, two keys, width 1: all can be followed on paper.

    Slice 0 has keys 0 and log 3, so a query of 1 weighs its values 1/4 and 3/4; slice 1 has equal keys.
    """
    query = torch.ones(2, 2, 1, 1)
    key = torch.tensor([[0.0, math.log(3)], [5.0, 5.0]])[:, None, :, None].expand(2, 2, 2, 1)
    value = torch.tensor([[4.0, 8.0], [10.0, 20.0]])[:, None, :, None].expand(2, 2, 2, 1)
    within = [1 / 4 * 4 + 3 / 4 * 8, 1 / 2 * 10 + 1 / 2 * 20]
    out = cross_slice_attention(query, key, value, CrossSlice(heads=1, offset=1))[..., 0, 0]
    # Head 0 of slice 0 asks slice 1, that of slice 1 has no slice 2; head 1 stays within.
    torch.testing.assert_close(out, torch.tensor([[within[1], within[0]], [within[1], within[1]]]))


@torch.no_grad()
def test_equations_2_to_5_in_a_module_by_hand() -> None:
    """Two slices of one token, two heads of width 1: attention to one token is its value.

    Features (1, 2) and (3, 5), values 4 and 8 times as large, the second head's output ten times.
    """
    attention = CrossAttention(2, 2)
    attention.in_proj_weight.copy_(
        torch.cat([torch.eye(2), torch.eye(2), torch.diag(torch.tensor([4.0, 8]))])
    )
    attention.out_proj.weight.copy_(torch.diag(torch.tensor([1.0, 10])))
    attention.out_proj.bias.zero_()
    x = torch.tensor([[[1.0, 2]], [[3.0, 5]]])
    assert attention(x, x, x)[:, 0].tolist() == [[4, 160], [12, 400]]
    look_across([attention], CrossSlice(heads=1, offset=1))
    assert attention(x, x, x)[:, 0].tolist() == [[12, 160], [12, 400]]
    look_across([attention], CrossSlice(heads=2, offset=(-1, 1)))
    assert attention(x, x, x)[:, 0].tolist() == [[4, 400], [4, 400]]


def test_keys_and_values_come_from_the_same_slice() -> None:
    """As written out in the paper, slice by slice and head by head."""
    q, k, v = drawn(SLICES, HEADS, TOKENS, 2)
    out = cross_slice_attention(q, k, v, CrossSlice(heads=2, offset=2))
    for t in range(SLICES):
        for head, offset in enumerate([2, -2, 0, 0]):
            there = t + offset if 0 <= t + offset < SLICES else t
            weight = torch.softmax(q[t, head] @ k[there, head].T / math.sqrt(2), -1)
            torch.testing.assert_close(out[t, head], weight @ v[there, head])


def test_it_is_the_usual_attention_of_torch() -> None:
    q, k, v = drawn(SLICES, HEADS, TOKENS, 8)
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend(q, k, v), theirs)


@pytest.mark.parametrize("slices", [1, SLICES])
def test_no_heads_or_one_slice_are_the_attention_without_it_to_the_bit(slices: int) -> None:
    q, k, v = drawn(slices, HEADS, TOKENS, 8)
    cross = CrossSlice(heads=2, offset=2) if slices == 1 else NO_CROSS_SLICE
    assert torch.equal(cross_slice_attention(q, k, v, cross), attend(q, k, v))
    if slices > 1:
        assert not torch.equal(cross_slice_attention(q, k, v, CrossSlice()), attend(q, k, v))


def test_prompts_beside_each_other_do_not_mix() -> None:
    q, k, v = drawn(3, SLICES, HEADS, TOKENS, 8)
    together = cross_slice_attention(q, k, v, CrossSlice())
    for n in range(3):
        torch.testing.assert_close(together[n], cross_slice_attention(q[n], k[n], v[n], CrossSlice()))


def test_a_mask_stays_that_of_the_slice_itself() -> None:
    q, k, v = drawn(SLICES, HEADS, TOKENS, 8)
    masked = torch.zeros(SLICES, 1, TOKENS, TOKENS, dtype=torch.bool)
    masked[0, 0, :, 1:] = True  # all queries of slice 0 see token 0 alone
    out = cross_slice_attention(q, k, v, CrossSlice(), masked)
    torch.testing.assert_close(out[0, 0], v[2, 0, :1].expand(TOKENS, 8))
    torch.testing.assert_close(out[0, 1], v[0, 1, :1].expand(TOKENS, 8))


def test_more_heads_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="has 4"):
        across_slices(numbered(), CrossSlice(heads=5).offsets)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heads": 2, "offset": [1]}, "1 offsets for 2 heads"),
        ({"heads": 1, "offset": 0}, "`offset` is 0"),
        ({"heads": -1}, "heads"),
        ({"heads": 1, "ofset": 2}, "ofset"),
        ({"offset": 65}, "offset"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(given: dict, message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(given, CrossSlice)


def test_the_setting_as_a_profile_gives_it() -> None:
    assert msgspec.convert({"heads": 1, "offset": 2}, CrossSlice).offsets == (2,)
    assert msgspec.convert({"heads": 0, "offset": 2}, CrossSlice).offsets == ()
    assert NO_CROSS_SLICE.reach == 0


def learnt(cross: CrossSlice) -> float:
    """Error of a trained attention that is asked for the mean of the slice behind, whose variance is 1."""
    torch.manual_seed(0)
    project, answer = torch.nn.Linear(4, 24), torch.nn.Linear(8, 1)
    optimiser = torch.optim.Adam([*project.parameters(), *answer.parameters()], lr=0.02)
    errors = []
    for _ in range(300):
        tokens = torch.randn(16, 6, TOKENS, 4)
        q, k, v = project(tokens).unflatten(-1, (3, 2, 4)).permute(3, 0, 1, 4, 2, 5)
        found = answer(cross_slice_attention(q, k, v, cross).transpose(-2, -3).flatten(-2))[..., 0]
        wanted = tokens[:, 1:, :, :1].mean(2) * TOKENS**0.5
        error = (found[:, :-1] - wanted).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    return sum(errors[-100:]) / 100


def test_what_only_the_next_slice_knows_is_learnt_with_a_head_for_it_alone() -> None:
    torch.set_num_threads(1)
    assert learnt(CrossSlice(heads=1, offset=1)) < 0.1
    assert learnt(NO_CROSS_SLICE) > 0.8
    assert learnt(CrossSlice(heads=1, offset=-1)) > 0.8
