"""Settings that all tests share."""

import hypothesis

# Timings vary on shared machines: no deadline. CI must not fail by luck: the same examples each time.
hypothesis.settings.register_profile("gradproof", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("gradproof")
