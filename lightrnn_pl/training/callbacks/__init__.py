"""What happens around the steps: learning-rate schedule, reallocation, bundles, resuming, metrics."""
