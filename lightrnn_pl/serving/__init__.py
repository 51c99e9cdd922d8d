"""A local page and a JSON interface to use a trained model from."""
