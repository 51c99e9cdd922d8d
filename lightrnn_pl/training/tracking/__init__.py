"""What a run shows: loggers, W&B runs and workspaces, the terminal, plots."""
