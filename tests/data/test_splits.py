"""Seeded choices of samples: balanced, nested, disjoint, and the same at every call."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnrepro.data.image_files import read_digits
from snnrepro.data.splits import balanced_subset, stratified_split
from snnrepro.errors import UserError

labels_of_any_balance = st.lists(st.integers(-2, 7), min_size=1, max_size=60).map(lambda y: np.array(y, np.int64))
seeds = st.integers(0, 2**32)
repeatable = settings(derandomize=True, deadline=None, max_examples=150)
TEN_CLASSES = np.arange(200) * 7 % 10


def complaint(call, *args) -> str:
    with pytest.raises(UserError) as caught:
        call(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@given(labels_of_any_balance, seeds, st.data())
@repeatable
def test_class_counts_of_a_subset_differ_by_one_at_most_unless_a_class_gives_all_it_has(labels, seed, data):
    size = data.draw(st.integers(1, len(labels)))
    subset = balanced_subset(labels, size, seed)
    taken, there = Counter(labels[subset].tolist()), Counter(labels.tolist())
    assert taken.total() == size
    most = max(taken.values())
    assert all(taken[c] >= most - 1 or taken[c] == there[c] for c in there)


@given(labels_of_any_balance, seeds, st.data())
@repeatable
def test_subset_is_sorted_indices_without_duplicates_and_the_same_at_every_call(labels, seed, data):
    size = data.draw(st.integers(1, len(labels)))
    subset = balanced_subset(labels, size, seed)
    assert subset.dtype == np.int64
    assert subset.tolist() == sorted(set(subset.tolist()))
    assert 0 <= subset[0] <= subset[-1] < len(labels)
    assert np.array_equal(subset, balanced_subset(labels.copy(), size, seed))


@given(labels_of_any_balance, seeds)
@repeatable
def test_smaller_subset_of_a_seed_is_part_of_every_larger_one(labels, seed):
    subsets = [set(balanced_subset(labels, size, seed).tolist()) for size in range(1, len(labels) + 1)]
    assert all(small < large for small, large in pairwise(subsets))


def test_class_that_is_too_small_gives_all_it_has_and_the_rest_share():
    labels = np.array([0] * 50 + [1] * 3 + [2] * 50)
    subset = balanced_subset(labels, 43, seed=1)
    assert np.bincount(labels[subset]).tolist() == [20, 3, 20]
    assert {50, 51, 52} <= set(subset.tolist())


def test_subsets_of_different_seeds_differ():
    subsets = {tuple(balanced_subset(TEN_CLASSES, 50, seed)) for seed in range(20)}
    assert len(subsets) == 20


def test_classes_that_give_one_more_differ_between_seeds():
    largest = {int(np.bincount(TEN_CLASSES[balanced_subset(TEN_CLASSES, 51, seed)]).argmax()) for seed in range(60)}
    assert largest == set(range(10))


def test_every_sample_has_the_same_chance_to_be_chosen():
    hits = np.zeros(200)
    for seed in range(400):
        hits[balanced_subset(TEN_CLASSES, 50, seed)] += 1
    assert np.abs(hits - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize("size", [-1, 0, 201])
def test_subset_of_no_samples_or_of_more_than_there_are_is_refused_with_both_numbers(size):
    message = complaint(balanced_subset, TEN_CLASSES, size, 0)
    assert f" {size} " in message
    assert " 200" in message


def test_subset_of_an_empty_set_is_refused():
    complaint(balanced_subset, np.array([], np.int64), 1, 0)


@given(labels_of_any_balance, st.floats(0, 1), seeds)
@repeatable
def test_split_holds_out_the_rounded_fraction_of_every_class_or_refuses_an_empty_side(labels, fraction, seed):
    there = Counter(labels.tolist())
    wanted = {c: round(fraction * n) for c, n in there.items()}
    if sum(wanted.values()) in (0, len(labels)):
        complaint(stratified_split, labels, fraction, seed)
        return
    rest, held_out = stratified_split(labels, fraction, seed)
    taken = Counter(labels[held_out].tolist())
    assert {c: taken[c] for c in there} == wanted
    assert sorted([*rest.tolist(), *held_out.tolist()]) == list(range(len(labels)))  # disjoint, and all of them
    assert [part.tolist() for part in (rest, held_out)] == [sorted(rest), sorted(held_out)]
    again = stratified_split(labels.copy(), fraction, seed)
    assert all(np.array_equal(first, second) for first, second in zip((rest, held_out), again, strict=True))


def test_splits_of_different_seeds_differ():
    assert len({tuple(stratified_split(TEN_CLASSES, 0.1, seed)[1]) for seed in range(20)}) == 20


def test_every_sample_has_the_same_chance_to_be_held_out():
    hits = np.zeros(200)
    for seed in range(400):
        hits[stratified_split(TEN_CLASSES, 0.25, seed)[1]] += 1
    assert np.abs(hits - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.98, 1.0])
def test_split_with_an_empty_side_is_refused_with_its_numbers(fraction):
    message = complaint(stratified_split, TEN_CLASSES, fraction, 0)
    assert f" {fraction:g} of 200 " in message


def test_split_of_an_empty_set_is_refused():
    complaint(stratified_split, np.array([], np.int64), 0.5, 0)


def test_digits_are_all_1797_once_and_a_fifth_of_each_class_is_test():
    from sklearn.datasets import load_digits

    data = read_digits(Path("unused"))
    assert (data.train_x.shape[1:], len(data.train_x) + len(data.test_x)) == ((1, 8, 8), 1797)
    pairs = [(*x.ravel().tolist(), int(y)) for x, y in zip(data.train_x, data.train_y, strict=True)]
    pairs += [(*x.ravel().tolist(), int(y)) for x, y in zip(data.test_x, data.test_y, strict=True)]
    assert len(set(pairs)) == 1797  # no image twice, so train and test share none
    whole = load_digits()
    assert set(pairs) == {(*x, int(y)) for x, y in zip(whole.data.astype(int).tolist(), whole.target, strict=True)}
    assert np.abs(np.bincount(data.test_y) - np.bincount(whole.target) * 0.2).max() <= 0.5


def test_digits_are_the_same_at_every_call():
    for first, again in zip(read_digits(Path("unused")), read_digits(Path("elsewhere")), strict=True):
        assert np.array_equal(first, again)
