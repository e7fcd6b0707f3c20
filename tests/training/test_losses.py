"""Losses on views whose values a hand can compute."""

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor  # noqa: E402

from vesal.training.losses import (  # noqa: E402
    ABSENT_SHARE,
    ABSENT_WEIGHT,
    BCE_WEIGHT,
    LEAST_DICE,
    adaptive_weight,
    adversarial_loss,
    alignment_loss,
    discriminator_loss,
    dual_prior_loss,
    reconstruction_loss,
    segmentation_loss,
    soft_dice,
    token_entropies,
)

SURE = 40.0
"""A logit whose probability is 1, and 0 with a minus, in float32."""


FALSE_HALF = ABSENT_WEIGHT * math.log1p(0.5 / ABSENT_SHARE)
"""Price of half a view under an absent name."""


def half_full() -> Tensor:
    """Truth of two classes on 2 x 2 x 4 voxels: the first fills slice 0 (8 voxels), the second is absent."""
    truth = torch.zeros(1, 2, 2, 2, 4)
    truth[0, 0, 0] = 1
    return truth


def test_soft_dice_of_half_sure_voxels() -> None:
    truth = half_full()
    # p = 0.5 on 16 voxels: overlap 4, sums 8 + 8; absent: overlap 0, sum 8. A tenth is added above and below.
    expected = torch.tensor([[(2 * 4 + 0.1) / 16.1, 0.1 / 8.1]])
    torch.testing.assert_close(soft_dice(torch.zeros_like(truth), truth), expected)


def test_a_sure_and_right_answer_costs_nothing() -> None:
    truth = half_full()
    presence = torch.tensor([[[SURE, -SURE], [-SURE, -SURE]]])
    loss, dice = segmentation_loss((truth * 2 - 1) * SURE, presence, truth)
    assert float(loss) == pytest.approx(-math.log(1 + LEAST_DICE), abs=1e-6)
    assert float(dice[0, 0]) == pytest.approx(1.0)


def test_the_loss_of_knowing_nothing() -> None:
    truth = half_full()
    loss, _ = segmentation_loss(torch.zeros_like(truth), torch.zeros(1, 2, 2), truth)
    expected = (BCE_WEIGHT + 0.2) * math.log(2) - math.log(8.1 / 16.1 + LEAST_DICE) + FALSE_HALF
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_dice_is_nan_for_an_absent_class_and_takes_no_part_in_the_loss() -> None:
    truth = half_full()
    _, dice = segmentation_loss(torch.zeros_like(truth), torch.zeros(1, 2, 2), truth)
    assert not torch.isnan(dice[0, 0]) and torch.isnan(dice[0, 1])


def test_where_all_classes_are_absent_no_dice_is_left() -> None:
    truth = torch.zeros(1, 2, 2, 2, 4)
    loss, dice = segmentation_loss(torch.zeros_like(truth), torch.zeros(1, 2, 2), truth)
    assert float(loss) == pytest.approx((BCE_WEIGHT + 0.2) * math.log(2) + FALSE_HALF, rel=1e-6)
    assert torch.isnan(dice).all()


def test_a_small_false_finding_costs_far_more_than_its_voxels() -> None:
    truth = torch.zeros(1, 1, 4, 16, 16)
    clean = torch.full_like(truth, -12.0)
    found = clean.clone()
    found[0, 0, 1, 4:9, 4:9] = 4.0  # 25 of 1,024 voxels
    presence = torch.full((1, 1, 4), -12.0)
    false, none = (float(segmentation_loss(x, presence, truth)[0]) for x in (found, clean))
    assert none < 0.01 and false > 0.9


def test_an_absent_class_is_still_pushed_down() -> None:
    truth = half_full()
    logits = torch.zeros_like(truth).requires_grad_()
    segmentation_loss(logits, torch.zeros(1, 2, 2), truth)[0].backward()
    assert (logits.grad[0, 1] > 0).all()


def test_a_small_class_that_is_missed_pulls_as_hard_as_a_large_one() -> None:
    """The gradient of 1 - Dice dies with the class's probability; that of its logarithm does not."""
    truth = torch.zeros(1, 1, 4, 8, 8)
    truth[0, 0, 1, 2:4, 2:4] = 1
    logits = torch.full_like(truth, -4.0).requires_grad_()
    segmentation_loss(logits, torch.zeros(1, 1, 4), truth)[0].backward()
    inside = -logits.grad[0, 0, 1, 2:4, 2:4].sum()
    plain = torch.full_like(truth, -4.0).requires_grad_()
    (1 - soft_dice(plain, truth)).mean().backward()
    assert float(inside) > 5 * float(-plain.grad[0, 0, 1, 2:4, 2:4].sum()) > 0


def test_presence_is_asked_per_slice() -> None:
    truth = half_full()
    presence = torch.zeros(1, 2, 2, requires_grad=True)
    segmentation_loss(torch.zeros_like(truth), presence, truth)[0].backward()
    assert presence.grad[0].sign().tolist() == [[-1, 1], [1, 1]]  # only class 0 is there, in slice 0


def test_logits_in_bf16_give_the_loss_in_float32() -> None:
    truth = half_full()
    loss, dice = segmentation_loss(
        torch.zeros_like(truth, dtype=torch.bfloat16), torch.zeros(1, 2, 2, dtype=torch.bfloat16), truth
    )
    assert loss.dtype == dice.dtype == torch.float32


def test_the_returned_dice_carries_no_gradient() -> None:
    truth = half_full()
    _, dice = segmentation_loss(
        torch.zeros_like(truth).requires_grad_(), torch.zeros(1, 2, 2, requires_grad=True), truth
    )
    assert not dice.requires_grad


def test_alignment_by_hand() -> None:
    """Equation 6 on features of two channels: means (3, 4) and (0, 2) against the texts (1, 0) and (0, 1)."""
    sparse = torch.tensor([[2.0, 4.0], [4.0, 4.0]]).reshape(1, 2, 1, 1, 2)
    dense = torch.tensor([[-1.0, 1.0, 0.0], [1.0, 2.0, 3.0]]).reshape(1, 2, 3, 1, 1)
    text = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    one = -(3 / 5 + 0)
    other = -(4 / 5 + 1)
    assert float(alignment_loss([sparse, dense], text[:, :1])) == pytest.approx(one)
    assert float(alignment_loss([sparse, dense], text)) == pytest.approx((one + other) / 2)
    assert float(alignment_loss([sparse], text[:, :1])) == pytest.approx(-3 / 5)


def test_alignment_knows_no_length_and_pulls_towards_the_text() -> None:
    features = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1, 1).requires_grad_()
    text = torch.tensor([[[0.0, 7.0]]])
    alignment_loss([features], text).backward()
    assert features.grad.flatten().tolist() == pytest.approx([0, -1])


def test_alignment_averages_over_the_batch() -> None:
    features = torch.eye(2).reshape(2, 2, 1, 1, 1)
    text = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    assert float(alignment_loss([features, features], text)) == pytest.approx(-1.0)


def soft_tokens() -> Tensor:
    """Two places and four tokens: the first is token 0, the second token 0 or 1, equally likely."""
    return torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]).T.reshape(1, 4, 1, 1, 2)


def test_entropies_of_soft_tokens_by_hand() -> None:
    mean_token, token = token_entropies(soft_tokens())
    # The mean is (3/4, 1/4, 0, 0); the tokens have 0 and ln 2.
    assert float(mean_token) == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert float(token) == pytest.approx(0.5 * math.log(2))


def test_dual_prior_loss_by_hand() -> None:
    mean_token = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    expected = -2.0 * mean_token + 3.0 * 0.5 * math.log(2)
    assert float(dual_prior_loss(soft_tokens(), 2.0, 3.0)) == pytest.approx(expected)


def test_dual_prior_loss_is_least_for_hard_tokens_that_are_all_used() -> None:
    hard = torch.eye(4).reshape(1, 4, 1, 2, 2)
    even = torch.full_like(hard, 0.25)
    assert float(dual_prior_loss(hard, 1.0, 1.0)) == pytest.approx(-math.log(4))
    assert float(dual_prior_loss(even, 1.0, 1.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(dual_prior_loss(hard[..., :1], 1.0, 1.0)) > -math.log(4)


def test_dual_prior_loss_has_gradients_where_a_token_is_impossible() -> None:
    logits = torch.tensor([0.0, -200.0, 0.0, 0.0]).reshape(1, 4, 1, 1, 1).requires_grad_()
    dual_prior_loss(logits.softmax(1), 1.0, 0.5).backward()
    assert bool(torch.isfinite(logits.grad).all())


def test_reconstruction_loss_by_hand() -> None:
    image = torch.zeros(1, 1, 1, 2, 2)
    told = torch.tensor([1.0, -2.0, 0.0, 0.0]).reshape(image.shape)
    assert float(reconstruction_loss(told, image)) == pytest.approx(5 / 4)


def test_adversarial_losses_by_hand() -> None:
    real, made = torch.tensor([math.log(3.0)]), torch.tensor([0.0])
    # D(x) = 3/4, D(x') = 1/2
    assert float(discriminator_loss(real, made)) == pytest.approx(math.log(4 / 3) + math.log(2))
    assert float(adversarial_loss(made)) == pytest.approx(math.log(2))


def test_the_adversary_weighs_as_much_as_the_reconstruction() -> None:
    last = torch.tensor([1.0, 2.0], requires_grad=True)
    reconstruction, adversarial = (3 * last[0] + 4 * last[1]), 0.5 * last[1]
    # Gradients (3, 4) and (0, 1/2): lengths 5 and 1/2.
    weight = adaptive_weight(reconstruction, adversarial, last)
    assert float(weight) == pytest.approx(10.0, rel=1e-5)
    assert not weight.requires_grad
    assert float(adaptive_weight(reconstruction, 0 * last[1], last)) == pytest.approx(1e4)
