"""What each command does, one module per command; the entry points are in :mod:`lightrnn_pl.cli`."""
