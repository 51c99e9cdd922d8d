"""The commands, one module each; their entry points are in :mod:`lightrnn_pl.cli`."""
