"""What all tests share: how Hypothesis searches. Fixtures live beside the tests that use them."""

from __future__ import annotations

import pytest
from hypothesis import settings

# What a helper asserts is told as fully as what a test asserts; before any test imports one.
pytest.register_assert_rewrite("support")

# A slow machine is no failing test, and the seed of a failure must be in the log.
settings.register_profile("phloem", deadline=None, print_blob=True)
settings.load_profile("phloem")
