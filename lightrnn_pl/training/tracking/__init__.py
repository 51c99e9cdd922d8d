"""Experiment tracking: loggers, W&B runs and workspaces, terminal output, and plots."""
