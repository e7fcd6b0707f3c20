"""Draws of Boltzmann sampling: the same numbers however they are asked for."""

import hashlib

import numpy as np
import pytest

from vesal.inference.families.biomedparse.draws import draw_bits, draw_inputs, draw_key, draw_layer

CASE, SENTENCE = b"case", "left kidney in abdominal CT"
TOKENS = (4, 15, 60)


def inputs(sentences: list[str], slices: list[int]) -> dict[str, np.ndarray]:
    """Numbers for a small image."""
    return draw_inputs(CASE, sentences, slices, TOKENS, layers=9, heads=8)


def test_shape_and_range() -> None:
    found = inputs([SENTENCE, "liver"], [3, 4, 5])
    assert list(found) == [f"draws_{layer}" for layer in range(9)]
    for layer, numbers in enumerate(found.values()):
        assert numbers.shape == (2, 3, 8, 16, TOKENS[layer % 3])
        assert numbers.dtype == np.float32
        assert numbers.min() > 0 and numbers.max() < 1


def test_batch_and_order_make_no_difference() -> None:
    sentences, slices = ["spleen", SENTENCE, "liver"], [7, 2, 9]
    whole = inputs(sentences, slices)
    for row, sentence in enumerate(sentences):
        for column, index in enumerate(slices):
            alone = inputs([sentence], [index])
            for name, numbers in alone.items():
                assert np.array_equal(numbers[0, 0], whole[name][row, column])
    turned = inputs(sentences[::-1], slices[::-1])
    for name, numbers in turned.items():
        assert np.array_equal(numbers[::-1, ::-1], whole[name])


def test_more_heads_change_nothing_for_those_before() -> None:
    few, many = (draw_layer(CASE, SENTENCE, 0, 4, heads, 15) for heads in (2, 8))
    assert np.array_equal(few, many[:2])


@pytest.mark.parametrize("queries", [16, 5])
def test_whatever_tells_two_draws_apart_gives_other_numbers(queries: int) -> None:
    """Two of 240 numbers of 16 bits are equal by chance in one of 65536 places."""
    base = (CASE, SENTENCE, 3, 4)
    others = [
        base,
        (b"cas", SENTENCE, 3, 4),
        (CASE, "right kidney in abdominal CT", 3, 4),
        (CASE, SENTENCE, 4, 4),
        (CASE, SENTENCE, 3, 5),
        (CASE + SENTENCE[:1].encode(), SENTENCE[1:], 3, 4),
    ]
    rows = [draw_bits(*one, 8, 15, queries).reshape(8, -1) for one in others]
    heads = np.concatenate(rows)
    assert heads.shape == (48, queries * 15)
    for number, row in enumerate(heads):
        for other in heads[number + 1 :]:
            assert (row == other).sum() < 5


def test_no_two_keys_can_be_joined_alike() -> None:
    assert draw_key(b"a", "bc", 1) != draw_key(b"ab", "c", 1)
    assert draw_key(b"a", "b", 11) != draw_key(b"a1", "b", 1)
    assert 0 <= draw_key(b"", "", 0) < 1 << 128


def test_uniform() -> None:
    """Mean, deviation and the share below some chances, within four standard errors; heads are unrelated."""
    numbers = draw_layer(CASE, SENTENCE, 0, 2, 8, 4096).astype(np.float64)
    count = numbers.size
    assert abs(numbers.mean() - 0.5) < 4 * np.sqrt(1 / 12 / count)
    assert abs(numbers.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / count)
    for chance in (0.001, 0.06, 0.5, 0.94):
        share = (numbers < chance).mean()
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / count) + 2**-17
    related = np.corrcoef(numbers.reshape(8, -1))
    assert np.abs(related - np.eye(8)).max() < 5 / np.sqrt(count / 8)


def test_numbers_are_exact() -> None:
    """The middle of one of 65536 equal parts, without rounding."""
    bits, numbers = draw_bits(CASE, SENTENCE, 1, 2, 3, 40), draw_layer(CASE, SENTENCE, 1, 2, 3, 40)
    assert np.array_equal(numbers.astype(np.float64), (bits.astype(np.float64) + 0.5) / 65536)


def test_bytes_stay_the_same_from_release_to_release() -> None:
    """Results of a case would change with them."""
    digest = hashlib.sha256(draw_bits(CASE, SENTENCE, 1, 2, 8, 60).astype("<u2").tobytes()).hexdigest()
    assert digest == "c023fa692ed52caa5ef2e09bb98cda2cc4ca4a1e33b844d97d0ec31d302ba712"


def test_any_index_and_sentence() -> None:
    for index in (0, 1, 2**40):
        for sentence in ("", "肝臓", "a" * 5000):
            assert draw_layer(CASE, sentence, index, 8, 2, 3).shape == (2, 16, 3)
