"""The pictures of a report: one file a kind, all written by :func:`write_pictures`."""

from lightrnn_pl.reporting.figures.registry import CAPTIONS, write_pictures

__all__ = ["CAPTIONS", "write_pictures"]
