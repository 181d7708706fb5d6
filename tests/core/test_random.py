from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vvae.core.random import bits64, index_below, shuffled, uniform


def test_golden_values_do_not_change_between_versions() -> None:
    assert bits64("value", 0, "tone", "d1#3", 0) == GOLDEN_BITS
    assert index_below(100, "value", 0, "tone", "d1#3", 0) == GOLDEN_BITS * 100 >> 64
    assert shuffled(["a", "b", "c", "d", "e"], "order", 7) == GOLDEN_ORDER


GOLDEN_BITS = 15545324702838507264
GOLDEN_ORDER = ["d", "a", "e", "b", "c"]


def test_key_parts_do_not_run_together() -> None:
    assert (
        len({bits64("ab", "c"), bits64("a", "bc"), bits64("abc"), bits64("a", 1), bits64("a", "1")})
        == 5
    )


@given(st.lists(st.text(min_size=1), unique=True), st.integers(0, 10))
def test_an_items_place_does_not_depend_on_where_it_stood(items: list[str], seed: int) -> None:
    assert shuffled(items, seed) == shuffled(items[::-1], seed)
    assert sorted(shuffled(items, seed)) == sorted(items)


def test_draws_are_uniform() -> None:
    draws = [uniform("u", i) for i in range(20_000)]
    assert all(0 <= draw < 1 for draw in draws)
    counts = [sum(low / 10 <= d < (low + 1) / 10 for d in draws) for low in range(10)]
    chi_square = sum((count - 2000) ** 2 / 2000 for count in counts)
    assert chi_square < 27.9  # 99.9 % quantile with 9 degrees of freedom


def test_index_is_exact_beyond_32_bits() -> None:
    n = 10**15
    assert [index_below(n, "big", i) for i in range(3)] == [
        bits64("big", i) * n // 2**64 for i in range(3)
    ]
