"""Every test of a measurement starts from the same random numbers, on one thread."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded_on_one_thread():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
