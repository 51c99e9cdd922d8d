"""The network: embeddings, recurrent cores, outputs, and the language model that they make."""
