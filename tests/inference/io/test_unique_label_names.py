"""No name of a label is given twice."""

from vesal.inference.io.label_names import label_names


def test_a_name_that_looks_like_a_counted_one_is_counted_too() -> None:
    names = [each.name for each in label_names({1: "liver", 2: "liver", 3: "liver (2)"})]
    assert names == ["liver", "liver (2)", "liver (2) (2)"]
