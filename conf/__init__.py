"""Hydra configuration of lightrnn_pl; one folder a config group, see README.md."""
