"""Command-line entry points: ``lightrnn-NAME`` runs ``lightrnn_pl/commands/NAME.py`` with ``conf/NAME.yaml``."""
