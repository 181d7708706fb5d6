"""The noise of a token is the same on every device: NumPy's generator is the reference."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vvae.inference.noise import on_device, uniform_rows

CPU = torch.device("cpu")
PLACES = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)), min_size=1)


@given(places=PLACES.filter(lambda p: len(p) <= 8), size=st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_tensor_operations_draw_what_numpy_draws(places: list[tuple[int, int]], size: int) -> None:
    assert torch.equal(on_device(places, size, CPU), uniform_rows(places, size, CPU))


def test_a_row_is_what_it_always_was() -> None:
    row = uniform_rows([(20261126, 3)], 4, CPU)[0]
    generator = np.random.Generator(np.random.Philox(key=20261126, counter=[0, 0, 0, 3]))
    drawn = generator.random(4, dtype=np.float32) * np.float32(1 - 2**-23) + np.float32(2**-25)
    assert row.tolist() == drawn.tolist()


def test_rows_do_not_depend_on_each_other_and_stay_inside() -> None:
    both = on_device([(1, 0), (2, 5)], 50_000, CPU)
    assert torch.equal(both[1:], on_device([(2, 5)], 50_000, CPU))
    assert not torch.equal(both[0], both[1])
    assert both.min() > 0
    assert both.max() < 1
    assert abs(both.mean().item() - 0.5) < 0.005
