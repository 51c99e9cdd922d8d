"""Initial allocations: the assignment of words to cells before training (LightRNN, section 3.2, step 1)."""
