"""Using a trained model: scoring text."""
