"""What the table of the engine's overhead rests on: whose time is counted, and where it goes back."""

from benchmarks import overhead
from vesal.inference.families import nano, network_input


def test_time_is_taken_wherever_a_function_is_held_and_all_is_put_back() -> None:
    own = network_input.intensity_statistics
    took = {"statistics": 0.0}
    with overhead.timed(own, took, "statistics"):
        assert nano.intensity_statistics is not own and network_input.intensity_statistics is not own
        nano.intensity_statistics(overhead.np.zeros((50, 200, 200), overhead.np.uint8))
    assert took["statistics"] > 0
    assert nano.intensity_statistics is own and network_input.intensity_statistics is own


def test_steps_name_functions_that_are_there() -> None:
    assert all(callable(function) for functions in overhead.STEPS.values() for function in functions)
