"""What all tests share: how Hypothesis searches. Fixtures live beside the tests that use them."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is no failing test, and the seed of a failure must be in the log.
settings.register_profile("phloem", deadline=None, print_blob=True)
settings.load_profile("phloem")
