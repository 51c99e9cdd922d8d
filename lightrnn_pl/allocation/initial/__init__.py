"""Initial allocations: where words are placed before any loss is known (LightRNN, section 3.2, step 1)."""
