"""Trained models for other programs: open formats, fewer bytes, ONNX, Hugging Face."""
