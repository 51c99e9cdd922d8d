"""Export of trained models: safetensors, ONNX, both also in 8 bits, and the Hugging Face hub."""
