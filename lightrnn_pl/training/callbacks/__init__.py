"""Callbacks for metrics, plots, bundles and checkpoints."""
